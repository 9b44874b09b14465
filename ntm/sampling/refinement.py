"""Trajectory score refinement: denoising by the likelihood's own gradient.

A trajectory is x_0 seen through correlated Gaussian noise with known covariance
S (Proposition 3). Tweedie's formula over all its states, with g = grad_x L of
the negative log-likelihood L, gives [3.5, Algorithm 3]

  x_den = (x - S g) / (1 - t)        (product over the trajectory axis),

of which we take the entry at t_0. It is the posterior mean of x_0 given the
whole trajectory if the model is exact. S couples the levels; the state at t = 1
has zero weight in row 0, so it is not needed as an unknown.
"""

import jax
import jax.numpy as jnp

from ntm.models.ntm import NTM
from ntm.process.kernel import trajectory_covariance
from ntm.typing import Array, Trajectory


def refine(model: NTM, params, trajectory: Trajectory, clip_percentile: float = 100.0) -> Array:
  """Denoises the cleanest state of every trajectory.

  Args:
    model: the density.
    params: its parameters.
    trajectory: states that end at noise, with t_0 > 0.
    clip_percentile: |g| is clipped to this percentile of its own entries in
      every state; 100 clips nothing.

  Returns:
    x_den, [B, N, C], an estimate of clean data.
  """
  def negative_log_prob(x_KBNC):
    result = model.apply({"params": params}, trajectory.replace(x_KBNC=x_KBNC),
                         method="log_prob")
    return -result.total_B.sum()

  g_KBNC = jax.grad(negative_log_prob)(trajectory.x_KBNC)
  if clip_percentile < 100:
    limit = jnp.percentile(jnp.abs(g_KBNC), clip_percentile, axis=(-2, -1), keepdims=True)
    g_KBNC = jnp.clip(g_KBNC, -limit, limit)
  row_KB = trajectory_covariance(trajectory.times_KB)[0]
  noise_BNC = jnp.einsum("kb,kbnc->bnc", row_KB.astype(g_KBNC.dtype), g_KBNC,
                         precision=jax.lax.Precision.HIGHEST)
  clean_B = 1 - trajectory.times_KB[0]
  return (trajectory.x_KBNC[0] - noise_BNC) / clean_B[:, None, None]
