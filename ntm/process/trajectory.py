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
  alpha, sigma = kernel.forward_kernel(
      jnp.concatenate([jnp.zeros_like(times[:1]), times[:-1]]), times)
  return _chain(rng, x0_BNC, alpha, sigma)


def continue_trajectory(rng: PRNGKey, x_BNC: Array, times: Array) -> Array:
  """Runs the forward chain from a given state at times[0] through the other levels.

  Args:
    rng: a key.
    x_BNC: the state at the first level.
    times: ascending levels, [K] or [K, B].

  Returns:
    x_KBNC, the given state first.
  """
  alpha, sigma = kernel.forward_kernel(times[:-1], times[1:])
  return jnp.concatenate([x_BNC[None], _chain(rng, x_BNC, alpha, sigma)])


def _chain(rng, x_BNC, alpha, sigma):
  """x <- alpha x + sigma eps, once for every row of alpha and sigma."""
  noise = jax.random.normal(rng, alpha.shape[:1] + x_BNC.shape, x_BNC.dtype)
  event = (1,) * (x_BNC.ndim - alpha.ndim + 1)
  alpha = alpha.astype(x_BNC.dtype).reshape(alpha.shape + event)
  sigma = sigma.astype(x_BNC.dtype).reshape(sigma.shape + event)

  def advance(x_BNC, step):
    alpha, sigma, noise_BNC = step
    x_BNC = alpha * x_BNC + sigma * noise_BNC
    return x_BNC, x_BNC

  return jax.lax.scan(advance, x_BNC, (alpha, sigma, noise))[1]
