"""An NTM from the flow-matching model of configs/digits_fm.py [3.6-3.8].

  ntm train --config=configs/digits_fm.py --workdir=runs/digits_fm
  ntm train --config=configs/digits_finetune.py --workdir=runs/digits_finetune

Without mean alignment: --config.finetune.alignment=0
Hardware: two CPU cores. Duration and numbers to expect: docs/digits.md.
"""

import ntm.config


def get_config():
  config = ntm.config.load_sibling(__file__, "digits.py")
  config.finetune.source = "runs/digits_fm"
  config.model.predictor.layers = 5
  config.model.predictor.output = "velocity"
  config.model.predictor.reads_noise = True
  config.model.transporter.num_blocks = 1
  config.model.unroll = 5
  # The posterior's C, which sigma_P is relative to, vanishes at t_min = 0.
  config.process.t_min_low = 0.01
  config.optimizer.peak_learning_rate = 1e-3
  config.train.steps = 1500
  config.train.sample_every = config.train.checkpoint_every = 500
  return config
