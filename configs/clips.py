"""Four-step NTM on video, three axes: 8 frames of a moving shape at 16 x 16 pixels.

  ntm train --config=configs/clips.py --workdir=runs/clips
  ntm sample --workdir=runs/clips

writes a picture with a clip per row of frames.
Hardware: two CPU cores. Duration: 20 minutes on one core with other programs running. Numbers
to expect: docs/data.md.
"""

import ntm.config


def get_config():
  config = ntm.config.load_sibling(__file__, "digits_features.py")
  config.data.source = "clips"
  config.model.image_shape = (8, 16, 16, 1)
  config.model.patch_shape = (2, 4, 4)
  config.model.num_classes = 3
  config.model.transporter.width = config.model.predictor.width = 64
  config.train.steps = 1500
  config.train.batch_size = 16
  config.train.sample_every = config.train.checkpoint_every = 500
  return config
