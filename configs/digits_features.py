"""The digits with a transporter that reads the noisier state: two blocks of splines.

  ntm train --config=configs/digits_features.py --workdir=runs/digits_features
  ntm evaluate --workdir=runs/digits_features

Hardware: two CPU cores. Duration and numbers to expect: docs/digits.md. Guidance is refused: it
needs a transporter that does not read the class, and features of the noisier state carry it.
"""

import ntm.config


def get_config():
  config = ntm.config.load_sibling(__file__, "digits.py")
  # As many parameters and FLOPs as four blocks of one layer.
  config.model.transporter.num_blocks = 2
  config.model.transporter.layers = 2
  config.model.transporter.features = 64
  config.model.transporter.spline_bins = 8
  return config
