"""The transporter f_T over the levels of a trajectory: one bijector, the same at every level.

A level never sees another one: the map is vmapped over the trajectory, with t as
conditioning, and is the identity at t = 1 (u_T = x_T). A conditional transporter also
reads features of the next noisier state, which the predictor gives.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ntm.flows.bijector import Bijector, checked
from ntm.typing import Array, Condition


def forward_over_levels(bijector: Bijector, x_KBNC: Array,
                        cond: Condition) -> tuple[Array, Array]:
  """(u_KBNC, log_det_KB), vmapped over the levels.

  Args:
    bijector: bound, as an attribute of a module that is being applied.
    x_KBNC: states.
    cond: its time is [K, B], its features, if any, [K, B, N, F]; all else is shared by the
      levels.
  """
  axes = Condition(time_B=0, features_BNF=None if cond.features_BNF is None else 0)
  return nn.vmap(
      lambda bijector, x_BNC, cond: _identity_at_noise(bijector.forward_and_log_det, x_BNC, cond),
      in_axes=(0, axes), out_axes=0,
      variable_axes={"params": None, "diagnostics": 0}, split_rngs={"params": False})(
          bijector, x_KBNC, cond)


def inverse_over_levels(bijector: Bijector, u_KBNC: Array,
                        cond: Condition) -> tuple[Array, Array]:
  """(x_KBNC, log_det_KB), the levels as one large batch; arguments as above.

  Not vmapped: a solver's `cond` would become a select, and pay for the scan
  that it falls back to every time.
  """
  num_levels, batch_size = u_KBNC.shape[:2]
  # The levels of an example next to each other, so that no device of a mesh needs another's.
  merge = lambda a: jnp.moveaxis(a, 0, 1).reshape(-1, *a.shape[2:])
  split = lambda a: jnp.moveaxis(a.reshape(batch_size, num_levels, *a.shape[1:]), 1, 0)
  # Class, text and T once per level; times and features are one per level already.
  tiled = jax.tree.map(lambda a: jnp.repeat(a, num_levels, axis=0),
                       cond.at(None).replace(features_BNF=None))
  tiled = tiled.replace(time_B=merge(cond.time_B),
                        features_BNF=jax.tree.map(merge, cond.features_BNF))
  x_BNC, log_det_B = _identity_at_noise(
      bijector.inverse_and_log_det, merge(u_KBNC), tiled)
  return split(x_BNC), split(log_det_B)


def _identity_at_noise(method, value_BNC, cond):
  out_BNC, log_det_B = checked(method, value_BNC, cond)
  noise_B = cond.time_B >= 1
  return (jnp.where(noise_B[:, None, None], value_BNC, out_BNC),
          jnp.where(noise_B, 0, log_det_B))
