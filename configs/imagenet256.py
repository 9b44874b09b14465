"""NTM on ImageNet 256 x 256, 1.4 B parameters: the paper's main model, four steps.

  ntm train --config=configs/imagenet256.py --workdir=gs://BUCKET/imagenet256 \\
    --config.data.path=/data/imagenet256

Data, as ntm/data/arrays.py says: image.npy, 16 x 16 x 32 latents of the FAE
autoencoder, and label.npy. The paper does not state the width; this one gives its
number of parameters with layers [4, 4, 24] and 8 key/value heads. As far as we found, the
weights of FAE are not public: imagenet256_sd.py and imagenet256_flux2.py are for
autoencoders whose weights are.
Hardware: a slice that docs/scaling.md names; the paper: 64 H100. Not yet measured.
Several T: imagenet256_multi_step.py. Smaller: imagenet256_768.py, imagenet256_1152.py.
"""

import ntm.config


def get_config():
  config = ntm.config.default()
  config.data.source = "arrays"
  config.model.image_shape = (16, 16, 32)
  config.model.patch_shape = (1, 1)
  config.model.num_classes = 1000
  for part in (config.model.transporter, config.model.predictor):
    part.width = 1600
    part.num_heads = 16
    part.num_kv_heads = 8
  config.model.predictor.layers = 24
  config.denoiser.width = 1600
  config.denoiser.num_heads = 16
  config.denoiser.num_kv_heads = 8
  config.model.dtype = "bfloat16"
  # "dots" lifts the bound on the MFU from 73 to 97 %, on v5p:4x4x4 as it is, on v5e:8x8 with two
  # rounds of accumulation: docs/scaling.md.
  config.model.remat = "full"
  config.optimizer.warmup_steps = 5000
  config.train.steps = 500_000
  config.train.batch_size = 1024
  config.train.sample_every = config.train.checkpoint_every = 5000
  config.mesh.data = 1
  config.mesh.fsdp = -1
  return config
