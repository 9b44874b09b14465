"""Flow matching on scikit-learn's digits: the baseline of configs/digits.py.

  ntm train --config=configs/digits_fm.py --workdir=runs/digits_fm
  ntm evaluate --workdir=runs/digits_fm --solver=heun --steps=8

As many parameters as that model within an eighth, and as many tokens: four
levels of 32 images an update there, one level of 128 images here.
Hardware: two CPU cores. Duration and numbers to expect: docs/digits.md.
"""

import ntm.config


def get_config():
  config = ntm.config.load_sibling(__file__, "digits.py")
  config.model.kind = "flow_matching"
  config.model.predictor.layers = 5
  config.model.unroll = 5
  config.train.batch_size = 128
  return config
