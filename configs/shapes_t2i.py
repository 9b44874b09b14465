"""Text to image on built-in scenes of coloured shapes: a caption becomes 32 x 32 pixels.

  ntm train --config=configs/shapes_t2i.py --workdir=runs/shapes
  ntm sample --workdir=runs/shapes --prompts="two red circles above a blue square" --num=8
  ntm evaluate --workdir=runs/shapes

The model learns to read together with the pictures. Its transporter reads features of the
noisier state, so samples take no guidance.
Hardware: two CPU cores. Duration: 71 minutes on one core with other programs running. Numbers:
docs/text_to_image.md; it draws coloured blobs after that, and few of the shapes it is asked for.
Flow matching on the same data: configs/shapes_t2i_fm.py.
"""

import ntm.config


def get_config():
  config = ntm.config.default()
  config.data.source = "scenes"
  config.text.tokenizer = "scenes"
  config.model.image_shape = (32, 32, 3)
  config.model.patch_shape = (4, 4)
  config.model.num_classes = 0
  config.model.backbone.text_tokens = 16  # The longest caption has 13 words.
  config.model.backbone.vocab_size = 54
  for part in (config.model.transporter, config.model.predictor):
    part.layers = 2
    part.width = 96
    part.num_heads = 4
    part.num_kv_heads = 2
  config.model.predictor.layers = 4
  config.model.transporter.num_blocks = 2
  config.model.transporter.features = 64
  config.model.unroll = 4
  config.optimizer.peak_learning_rate = 2e-3
  config.optimizer.final_learning_rate = 2e-5
  config.optimizer.warmup_steps = 200
  config.optimizer.ema_decay = 0.997
  config.train.steps = 8000
  config.train.batch_size = 8
  config.train.label_dropout = 0.0  # Without guidance no text is dropped.
  config.train.sample_every = config.train.checkpoint_every = 1000
  return config
