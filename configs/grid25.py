"""Four-step NTM on 25 Gaussians in the plane, whose density is known exactly.

  ntm train --config=configs/grid25.py --workdir=runs/grid25
  ntm evaluate --workdir=runs/grid25

Hardware: two CPU cores. Duration: 66 s with nothing else running, start-up and compilation
included; 98 s of CPU time. To expect, of one run:
divergence from the truth 0.018 +- 0.001 nats per trajectory, where no Gaussian steps get below
2.23; 97.6 % of 5,000 samples in a mode, where exact draws have 99.0 % (`--draws=2
--num_samples=5000`).
Other transporters and T: benchmarks/grid25.py.
"""

import ntm.config


def get_config():
  config = ntm.config.default()
  config.data.source = "mixture"
  config.data.mixture = "grid25"
  config.model.image_shape = (2, 1)
  config.model.patch_shape = (1,)
  config.model.num_classes = 0
  for part in (config.model.transporter, config.model.predictor):
    part.layers = 1
    part.width = 32
    part.num_heads = 2
    part.num_kv_heads = 2
  # One spline per coordinate that reads the noisier state: the posterior of a coordinate is a
  # mixture whose weights depend on it, and the coordinates are independent.
  config.model.transporter.num_blocks = 1
  config.model.transporter.features = 32
  config.model.transporter.spline_bins = 32
  config.model.transporter.spline_range = 2.0  # Nearly all noisy states; fine bins among the modes.
  config.process.schedule = "uniform"
  config.process.t_min_low = config.process.t_min_high = 0.02  # The level that is evaluated.
  config.optimizer.peak_learning_rate = 1e-2
  config.optimizer.final_learning_rate = 1e-5
  config.optimizer.warmup_steps = 100
  config.optimizer.weight_decay = 0.0
  config.optimizer.ema_decay = 0.99
  config.train.steps = 1000
  config.train.batch_size = 256
  config.train.log_every = 50
  config.train.sample_every = 500
  config.train.checkpoint_every = 500
  return config
