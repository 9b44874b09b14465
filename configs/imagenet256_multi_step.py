"""One model for 4, 8 and 16 steps: otherwise configs/imagenet256.py.

  ntm train --config=configs/imagenet256_multi_step.py --workdir=gs://BUCKET/multi_step \\
    --config.data.path=/data/imagenet256

Trajectories are padded to 16 steps, so an update costs four of that config's.
Hardware: see docs/scaling.md; bound on the MFU with config.model.remat=dots: 97 % on v5p:4x4x4
with two rounds of accumulation, 97 % on v5e:8x8 with eight. Not yet measured.
"""

import ntm.config


def get_config():
  config = ntm.config.load_sibling(__file__, "imagenet256.py")
  config.process.num_steps = (4, 8, 16)
  return config
