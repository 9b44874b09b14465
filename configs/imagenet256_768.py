"""Width 768, otherwise configs/imagenet256.py.

  ntm train --config=configs/imagenet256_768.py --workdir=gs://BUCKET/imagenet256_768 \\
    --config.data.path=/data/imagenet256

Hardware: see docs/scaling.md; bound on the MFU with config.model.remat=dots: 90 % on v5p:4x4x4,
84 % on v5e:8x8. Not yet measured.
"""

import ntm.config


def get_config():
  config = ntm.config.load_sibling(__file__, "imagenet256.py")
  for part in (config.model.transporter, config.model.predictor, config.denoiser):
    part.width = 768
    part.num_heads = 8
  return config
