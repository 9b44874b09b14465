"""What Gaussian steps cannot reach: the divergence of the best Gaussian chain from the truth.

Among all chains whose steps p(x_s | x_t) are Gaussians with any mean and
covariance as functions of x_t, the one nearest to the truth has the moments of
q(x_s | x_t). The divergence of the trajectories is then

  KL = sum_k E KL(q(x_{k-1} | x_k) || N(E[x_{k-1} | x_k], Cov[x_{k-1} | x_k])),

in nats per trajectory: no diffusion model of the same T with Gaussian steps is
better. With the diagonal of the covariance it is the bound of steps with
independent dimensions, as those of an NTM without a transporter.
"""

import math

import jax
import jax.numpy as jnp

from ntm.truth import trajectories
from ntm.truth.mixtures import Mixture
from ntm.typing import Array


def log_ratios(mixture: Mixture, x_KBD: Array, times_KB: Array, full_covariance: bool = False,
               component_B: Array | None = None) -> Array:
  """log q(x_{k-1} | x_k) - log N(x_{k-1}; moments) of every step, [S, B], in nats.

  Over trajectories of the forward process, the mean of the sum over the steps is the
  divergence.

  Args:
    mixture: of the data.
    x_KBD: states, cleanest first.
    times_KB: their levels, [K] or [K, B].
    full_covariance: dependent dimensions; D^2 numbers per state.
    component_B: condition on these components.
  """
  times_KB = jnp.broadcast_to(jnp.asarray(times_KB).reshape(len(x_KBD), -1), x_KBD.shape[:2])
  mean, covariance = trajectories.step_moments(mixture, x_KBD[1:], times_KB[1:], times_KB[:-1],
                                               full_covariance, component_B)
  offset = x_KBD[:-1] - mean
  if full_covariance:
    factor = jnp.linalg.cholesky(covariance)
    z = jax.scipy.linalg.solve_triangular(factor, offset[..., None], lower=True)[..., 0]
    scale = jnp.diagonal(factor, axis1=-2, axis2=-1)
  else:
    scale = jnp.sqrt(covariance)
    z = offset / scale
  log_gaussian_SB = -(0.5 * (z ** 2 + math.log(2 * math.pi)) + jnp.log(scale)).sum(axis=-1)
  return trajectories.log_steps(mixture, x_KBD, times_KB, component_B) - log_gaussian_SB
