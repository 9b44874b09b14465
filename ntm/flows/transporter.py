"""The transporter f_T: a shallow invertible map, the same at every level.

TarFlow blocks in alternating scan directions (identity, flip, identity, ...), or
coupling blocks that exchange the tokens they keep.
A level never sees another one: the map is vmapped over the trajectory, with t
as conditioning, and is the identity at t = 1 (u_T = x_T).
"""

import flax.linen as nn
import jax.numpy as jnp

from ntm.config import ModelConfig
from ntm.flows import bijector, coupling
from ntm.flows.autoregressive import AutoregressiveBlock
from ntm.typing import Array, Condition


class Transporter(nn.Module):
  """f_T for one level, itself a bijector.

  Attributes:
    config: of the model.
    multi_step: also condition on the number of steps T.
    dtype: compute type.
    param_dtype: parameter type.
  """

  config: ModelConfig
  multi_step: bool = False
  dtype: jnp.dtype = jnp.float32
  param_dtype: jnp.dtype = jnp.float32

  def setup(self):
    """Makes the submodules."""
    config = self.config
    if config.transporter.kind == "coupling" and config.transporter.num_blocks:
      self.chain = coupling.CouplingChain(
          config.transporter, config.grid_shape, config.num_channels, config.num_classes,
          self.dtype, self.param_dtype, config.remat, config.unroll, self.multi_step)
      return
    bijectors = []
    for i in range(config.transporter.num_blocks):
      block = AutoregressiveBlock(
          config.transporter, config.grid_shape, config.num_channels, config.num_classes,
          self.dtype, self.param_dtype, config.remat, config.unroll, self.multi_step,
          config.inverse,
          name=f"block_{i}")
      # Odd blocks scan from the last token to the first, and restore the order.
      bijectors += [block] if i % 2 == 0 else [bijector.Flip(), block, bijector.Flip()]
    self.chain = bijector.Chain(bijectors)

  def forward_and_log_det(self, x_BNC: Array, cond: Condition) -> tuple[Array, Array]:
    """Data → u-space."""
    return self._at_noise(x_BNC, cond, self.chain.forward_and_log_det)

  def inverse_and_log_det(self, u_BNC: Array, cond: Condition) -> tuple[Array, Array]:
    """u-space → data."""
    return self._at_noise(u_BNC, cond, self.chain.inverse_and_log_det)

  def _at_noise(self, value_BNC, cond, verb):
    out_BNC, log_det_B = verb(value_BNC, cond)
    noise_B = cond.time_B >= 1
    return (jnp.where(noise_B[:, None, None], value_BNC, out_BNC),
            jnp.where(noise_B, 0, log_det_B))


def forward_over_levels(transporter: Transporter, x_KBNC: Array,
                        cond: Condition) -> tuple[Array, Array]:
  """(u_KBNC, log_det_KB), vmapped over the levels.

  The condition's time has a leading K as well; label and T are shared.
  """
  axes = Condition(time_B=0, num_steps_B=None, label_B=None)
  return nn.vmap(
      lambda transporter, value, cond: transporter.forward_and_log_det(value, cond),
      in_axes=(0, axes), out_axes=0,
      variable_axes={"params": None, "diagnostics": 0}, split_rngs={"params": False})(
          transporter, x_KBNC, cond)


def inverse_over_levels(transporter: Transporter, u_KBNC: Array,
                        cond: Condition) -> tuple[Array, Array]:
  """(x_KBNC, log_det_KB), the levels as one large batch.

  Not vmapped: a solver's `cond` would become a select, and pay for the scan
  that it falls back to every time.
  """
  num_levels, batch_size = u_KBNC.shape[:2]
  tiled = lambda a: None if a is None else jnp.concatenate([a] * num_levels)
  x_BNC, log_det_B = transporter.inverse_and_log_det(
      u_KBNC.reshape(-1, *u_KBNC.shape[2:]),
      Condition(cond.time_B.reshape(-1), tiled(cond.num_steps_B), tiled(cond.label_B)))
  return x_BNC.reshape(u_KBNC.shape), log_det_B.reshape(num_levels, batch_size)
