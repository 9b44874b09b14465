"""Text to image at 1,024 x 1,024: configs/t2i_256.py on 64 x 64 tokens.

  ntm encode --from=webdataset --source=/data/images --image_size=1024 \\
    --autoencoder=runs/autoencoder_flux2 --target=/data/t2i_1024
  ntm train --config=configs/t2i_1024.py --workdir=gs://BUCKET/t2i_1024 \\
    --config.data.path=/data/t2i_1024

Autoencoder and text encoder as in t2i_256.py. An autoregressive inverse takes 4,096 tokens one
after another; coupling blocks are inverted in one pass each. The paper stops at 512 pixels, so
nothing of it says what is best here.
Hardware: see docs/scaling.md. Not yet measured.
"""

import ntm.config


def get_config():
  config = ntm.config.load_sibling(__file__, "t2i_256.py")
  config.model.image_shape = (64, 64, 128)
  config.model.transporter.kind = "coupling"
  config.train.batch_size = 256
  return config
