"""configs/shapes_t2i.py, trained for less: to see that all works, not for its pictures.

  ntm train --config=configs/shapes_t2i_quick.py --workdir=runs/shapes_quick
  ntm sample --workdir=runs/shapes_quick --prompts="a red circle" --num=8

The same model, 1,500 updates instead of 8,000.
Hardware: two CPU cores. Duration: 17 minutes on one core with other programs running. Expect
0.19 nats/dim and a Frechet distance of 89 (fresh pictures: 2.6), and that no picture is right.
"""

import ntm.config


def get_config():
  config = ntm.config.load_sibling(__file__, "shapes_t2i.py")
  config.train.steps = 1500
  config.train.sample_every = config.train.checkpoint_every = 500
  return config
