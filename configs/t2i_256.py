"""Text to image at 256 x 256 from scratch, width 3072: the paper's [4, 4, 24] layers.

  ntm train --config=configs/t2i_256.py --workdir=gs://BUCKET/t2i_256 \\
    --config.data.path=/data/t2i_256

Data, as ntm/data/arrays.py says: image.npy, 16 x 16 x 32 latents of the FAE
autoencoder, text.npy, 256 features of Qwen2.5-VL 7B a text, and null_text.npy.
Hardware: see docs/scaling.md; the paper: 64 H100. Not yet measured.
"""

import ntm.config


def get_config():
  config = ntm.config.load_sibling(__file__, "imagenet256.py")
  config.model.num_classes = 0
  config.model.backbone.text_tokens = 256
  config.model.backbone.text_width = 3584
  for part in (config.model.transporter, config.model.predictor, config.denoiser):
    part.width = 3072
    part.num_heads = 24
  return config
