"""The denoiser of configs/digits.py: sampling without inverse and gradient.

  ntm distill --config=configs/digits_denoiser.py --teacher=runs/digits

Hardware: two CPU cores. Duration and numbers to expect: docs/digits.md.
"""

import ntm.config


def get_config():
  config = ntm.config.load_sibling(__file__, "digits.py")
  config.denoiser.layers = 2
  config.optimizer.peak_learning_rate = 2e-3
  config.train.steps = 1500
  config.train.sample_every = config.train.checkpoint_every = 500
  return config
