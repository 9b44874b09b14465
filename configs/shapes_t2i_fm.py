"""Flow matching on built-in scenes: the baseline of configs/shapes_t2i.py.

  ntm train --config=configs/shapes_t2i_fm.py --workdir=runs/shapes_fm
  ntm sample --workdir=runs/shapes_fm --prompts="a small green ring" --guidance=2 --num=8
  ntm evaluate --workdir=runs/shapes_fm --steps=8

As many tokens as that model: four levels of 8 pictures per update there, one level of 32
pictures here. Its network has as many layers as predictor and transporter there together.
Hardware: two CPU cores. Duration: 79 minutes on one core with other programs running. Numbers:
docs/text_to_image.md.
"""

import ntm.config


def get_config():
  config = ntm.config.load_sibling(__file__, "shapes_t2i.py")
  config.model.kind = "flow_matching"
  config.model.predictor.layers = config.model.unroll = 8
  config.train.batch_size = 32
  config.train.label_dropout = 0.1
  return config
