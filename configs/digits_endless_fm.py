"""Flow matching on endless digits: the baseline of configs/digits_endless.py.

  ntm train --config=configs/digits_endless_fm.py --workdir=runs/endless_fm
  ntm evaluate --workdir=runs/endless_fm --num_samples=5000 --solver=heun --steps=8

As many tokens as that model: four levels of 32 images per update there, one level of
128 images here.
Hardware: two CPU cores. Duration: at most 15 minutes. To expect, of this model on an H100
(docs/measurements/endless_h100.jsonl; `python benchmarks/endless.py`, one seed): Frechet
distance of 5,000 samples 0.47 with these eight steps of Heun, 0.46 with 50 of Euler.
"""

import ntm.config


def get_config():
  config = ntm.config.load_sibling(__file__, "digits_fm.py")
  config.data.augment = True
  config.train.steps = 2000
  config.train.sample_every = config.train.checkpoint_every = 500
  return config
