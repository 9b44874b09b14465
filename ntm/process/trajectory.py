"""Draws the states of a forward trajectory from data."""

import jax
import jax.numpy as jnp

from ntm.process import kernel
from ntm.typing import Array, PRNGKey


def sample_trajectory(rng: PRNGKey, x0_BNC: Array, times: Array) -> Array:
  """Runs the forward chain from x_0 through the given levels [2.3].

  x_{t_0} = (1 - t_0) x_0 + t_0 eps, then x_t = alpha x_s + sigma eps.
  The marginal at every level is N((1 - t) x_0, t^2 I) and the covariance
  between levels is `kernel.trajectory_covariance(times)`.

  Args:
    rng: a key.
    x0_BNC: clean data.
    times: ascending levels, [K] or [K, B].

  Returns:
    x_KBNC, cleanest state first.
  """
  start = jnp.zeros_like(times[:1])
  alpha, sigma = kernel.forward_kernel(jnp.concatenate([start, times[:-1]]), times)
  noise_KBNC = jax.random.normal(rng, times.shape[:1] + x0_BNC.shape, x0_BNC.dtype)
  event = (1,) * (x0_BNC.ndim - times.ndim + 1)
  alpha = alpha.astype(x0_BNC.dtype).reshape(times.shape + event)
  sigma = sigma.astype(x0_BNC.dtype).reshape(times.shape + event)

  def advance(x_BNC, step):
    alpha, sigma, noise_BNC = step
    x_BNC = alpha * x_BNC + sigma * noise_BNC
    return x_BNC, x_BNC

  _, x_KBNC = jax.lax.scan(advance, x0_BNC, (alpha, sigma, noise_KBNC))
  return x_KBNC
