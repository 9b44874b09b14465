"""Four-step NTM on scikit-learn's 8 x 8 digits, bundled with it.

  ntm train --config=configs/digits.py --workdir=runs/digits
  ntm evaluate --workdir=runs/digits

Hardware: two CPU cores. Duration and numbers to expect: docs/digits.md.
Without the transporter: --config.model.transporter.num_blocks=0
"""

import ntm.config


def get_config():
  config = ntm.config.default()
  # Many shallow blocks: at equal cost a better likelihood here than few deep ones.
  config.model.transporter.num_blocks = 4
  config.model.transporter.layers = 1
  config.model.transporter.mlp_ratio = 2
  config.model.predictor.layers = 2
  config.model.unroll = 4
  config.process.schedule = "uniform"
  config.optimizer.peak_learning_rate = 3e-3
  config.optimizer.final_learning_rate = 1e-5
  config.optimizer.warmup_steps = 100
  config.optimizer.weight_decay = 1e-2
  config.optimizer.ema_decay = 0.997
  config.train.steps = 2900
  config.train.batch_size = 32
  config.train.log_every = 50
  config.train.sample_every = 725
  config.train.checkpoint_every = 725
  return config
