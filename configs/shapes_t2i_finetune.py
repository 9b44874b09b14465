"""An NTM for captioned scenes from the flow-matching model of configs/shapes_t2i_fm.py.

  ntm train --config=configs/shapes_t2i_fm.py --workdir=runs/shapes_fm
  ntm train --config=configs/shapes_t2i_finetune.py --workdir=runs/shapes_finetune
  ntm sample --workdir=runs/shapes_finetune --prompts="two red circles above a blue square" --num=8

Two pictures per update, at four levels each: four times as many updates as of eight cost as much.
Hardware: two CPU cores. Duration: 63 minutes on one core with other programs running, after those
of shapes_t2i_fm.py. Numbers: docs/text_to_image.md.
"""

import ntm.config


def get_config():
  config = ntm.config.load_sibling(__file__, "shapes_t2i.py")
  config.finetune.source = "runs/shapes_fm"
  config.model.predictor.layers = config.model.unroll = 8
  config.model.predictor.output = "velocity"
  config.model.predictor.reads_noise = True
  # The posterior's C, which sigma_P is relative to, vanishes at t_min = 0.
  config.process.t_min_low = 0.01
  config.optimizer.peak_learning_rate = 7e-4
  config.optimizer.final_learning_rate = 7e-6
  config.optimizer.ema_decay = 0.999
  config.train.steps = 16000
  config.train.batch_size = 2
  config.train.sample_every = config.train.checkpoint_every = 2000
  return config
