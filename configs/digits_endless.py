"""The model of configs/digits.py on digits that cannot be memorised: a fresh map for each.

  ntm train --config=configs/digits_endless.py --workdir=runs/endless
  ntm evaluate --workdir=runs/endless --num_samples=5000

Hardware: two CPU cores. Duration: at most 15 minutes. Numbers to expect: not yet measured.
Without the transporter: --config.model.transporter.num_blocks=0
"""

import ntm.config


def get_config():
  config = ntm.config.load_sibling(__file__, "digits.py")
  config.data.augment = True
  config.train.steps = 2000
  config.train.sample_every = config.train.checkpoint_every = 500
  return config
