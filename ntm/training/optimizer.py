"""AdamW with warm-up, cosine decay and clipping."""

import jax
import optax

from ntm.config import OptimizerConfig


def learning_rate(config: OptimizerConfig, steps: int) -> optax.Schedule:
  """Linear warm-up from 0 to the peak, then cosine decay to the end value at `steps`."""
  return optax.warmup_cosine_decay_schedule(
      0.0, config.peak_learning_rate, config.warmup_steps, max(steps, 1),
      end_value=config.final_learning_rate)


def build(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
  """Builds AdamW with gradients clipped to a global norm.

  Weight decay applies to kernels only, not to biases, norms or embedding tables.
  """
  return optax.chain(
      optax.clip_by_global_norm(config.max_grad_norm),
      optax.adamw(learning_rate(config, steps), b1=config.b1, b2=config.b2,
                  weight_decay=config.weight_decay, mask=_kernels))


def _kernels(params):
  return jax.tree_util.tree_map_with_path(
      lambda path, _: getattr(path[-1], "key", None) == "kernel", params)
