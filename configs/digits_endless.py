"""The model of configs/digits.py on digits that cannot be memorised: a fresh map for each.

  ntm train --config=configs/digits_endless.py --workdir=runs/endless
  ntm evaluate --workdir=runs/endless --num_samples=5000

Hardware: two CPU cores. Duration: at most 15 minutes. To expect, of this model on an H100
(docs/results.md, four affine blocks; `python benchmarks/endless.py`, one seed): Frechet
distance of 5,000 samples 2.61 refined, 2.90 with --refine=none; 0.296 nats/dim.
Without the transporter: --config.model.transporter.num_blocks=0
"""

import ntm.config


def get_config():
  config = ntm.config.load_sibling(__file__, "digits.py")
  config.data.augment = True
  config.train.steps = 2000
  config.train.sample_every = config.train.checkpoint_every = 500
  return config
