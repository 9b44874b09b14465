"""configs/imagenet256.py on pixels, through Stable Diffusion's autoencoder: 32 x 32 x 4 latents.

  ntm convert --family=autoencoder_kl --source=sd-vae-ft-mse --target=runs/autoencoder_sd
  ntm train --config=configs/imagenet256_sd.py --workdir=gs://BUCKET/imagenet256_sd \\
    --config.data.data_dir=/data/tfds

Source: diffusers' folder of stabilityai/sd-vae-ft-mse (or -ema). Data: tensorflow-datasets'
imagenet2012, prepared as array_record; its images are cropped to squares of 256 pixels. The
update encodes them (docs/training.md). Patches of 2 x 2 latents: 256 tokens, as in
imagenet256.py. Hardware: see docs/scaling.md. Not yet measured.
"""

import ntm.config


def get_config():
  config = ntm.config.load_sibling(__file__, "imagenet256.py")
  config.autoencoder.path = "runs/autoencoder_sd"
  config.data.source = "tfds"
  config.data.path = "imagenet2012"
  config.model.image_shape = (32, 32, 4)
  config.model.patch_shape = (2, 2)
  return config
