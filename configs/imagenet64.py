"""NTM on ImageNet 64 x 64 pixels, four steps.

  ntm train --config=configs/imagenet64.py --workdir=gs://BUCKET/imagenet64 \\
    --config.data.data_dir=/data/tfds

Data: tensorflow-datasets' imagenet_resized/64x64, prepared as array_record.
Hardware: see docs/scaling.md; bound on the MFU with config.model.remat=dots: 97 % on v5p:4x4x4,
97 % on v5e:8x8 with two rounds of accumulation. Not yet measured.
"""

import ntm.config


def get_config():
  config = ntm.config.load_sibling(__file__, "imagenet256_1152.py")
  config.data.source = "tfds"
  config.data.path = "imagenet_resized/64x64"
  config.model.image_shape = (64, 64, 3)
  config.model.patch_shape = (4, 4)
  return config
