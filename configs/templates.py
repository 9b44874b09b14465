"""Four-step NTM on 64 drawn glyphs with pixel noise, whose density is known exactly.

  ntm train --config=configs/templates.py --workdir=runs/templates
  ntm evaluate --workdir=runs/templates --draws=2 --num_samples=5000

The pixels of a glyph belong together, so that a step which has to choose a glyph must choose all
of them at once; that is a matter of the middle steps. Hardware: two CPU cores. Duration and
numbers to expect: docs/truth.md. Other transporters, and flow matching: benchmarks/templates.py.
"""

import ntm.config


def get_config():
  config = ntm.config.default()
  config.data.source = "mixture"
  config.data.mixture = "templates"
  config.data.num_templates = 64
  config.data.noise = 0.1
  config.model.num_classes = 0
  for part in (config.model.transporter, config.model.predictor):
    part.layers = 2
    part.width = 64
    part.num_heads = 4
    part.num_kv_heads = 2
  config.model.transporter.num_blocks = 2
  config.model.transporter.features = 64
  config.model.transporter.spline_bins = 8
  config.model.unroll = 4
  config.process.schedule = "uniform"
  config.process.t_min_low = config.process.t_min_high = 0.02  # The level that is evaluated.
  config.optimizer.peak_learning_rate = 3e-3
  config.optimizer.final_learning_rate = 1e-5
  config.optimizer.warmup_steps = 100
  config.optimizer.weight_decay = 0.0
  config.optimizer.ema_decay = 0.99
  config.train.steps = 1000
  config.train.batch_size = 32
  config.train.log_every = 50
  config.train.sample_every = 500
  config.train.checkpoint_every = 500
  return config
