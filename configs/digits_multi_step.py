"""One model of the digits for 4, 8 and 16 steps: every example draws its own T.

  ntm train --config=configs/digits_multi_step.py --workdir=runs/digits_multi_step
  ntm evaluate --workdir=runs/digits_multi_step --steps=16

Hardware: two CPU cores. Duration and numbers to expect: not yet measured.
"""

import ntm.config


def get_config():
  config = ntm.config.load_sibling(__file__, "digits.py")
  config.process.num_steps = (4, 8, 16)
  return config
