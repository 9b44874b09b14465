"""Four-step NTM on sounds, one axis: synthesised chirps and plucked strings of 1,024 samples.

  ntm train --config=configs/sounds.py --workdir=runs/sounds
  ntm sample --workdir=runs/sounds

writes a WAV file and a picture of waveforms with their spectrograms.
Hardware: two CPU cores. Duration: 12 minutes on one core with other programs running. Numbers
to expect: docs/data.md.
"""

import ntm.config


def get_config():
  config = ntm.config.load_sibling(__file__, "digits_features.py")
  config.data.source = "sounds"
  config.model.image_shape = (1024, 1)
  config.model.patch_shape = (16,)
  config.model.num_classes = 2
  config.model.transporter.width = config.model.predictor.width = 64
  config.train.steps = 1500
  config.train.batch_size = 16
  config.train.sample_every = config.train.checkpoint_every = 500
  return config
