"""configs/imagenet256_sd.py with the autoencoder of FLUX.2: 16 x 16 x 128 latents.

  ntm convert --family=autoencoder_flux2 --source=FLUX.2-klein-base-4B/vae \\
    --target=runs/autoencoder_flux2
  ntm train --config=configs/imagenet256_flux2.py --workdir=gs://BUCKET/imagenet256_flux2 \\
    --config.data.data_dir=/data/tfds

Source: diffusers' folder `vae` of a FLUX.2 model. Its latents are patches already: one token
each, 256 of them. Hardware: see docs/scaling.md. Not yet measured.
"""

import ntm.config


def get_config():
  config = ntm.config.load_sibling(__file__, "imagenet256_sd.py")
  config.autoencoder.path = "runs/autoencoder_flux2"
  config.model.image_shape = (16, 16, 128)
  config.model.patch_shape = (1, 1)
  return config
