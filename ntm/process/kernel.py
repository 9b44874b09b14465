"""Gaussian kernels of the forward chain, with all their limits.

The chain x_t = alpha x_s + sigma eps, 0 <= s < t <= 1, keeps the flow-matching
marginals x_t ~ N((1 - t) x_0, t^2 I) at every level (Proposition 1):

  alpha = (1 - t) / (1 - s),   sigma^2 = t^2 - alpha^2 s^2.                [2.3]

sigma^2 cancels badly near s = t. With the factors
t - alpha s = (t - s) / (1 - s) and t + alpha s = (t + s - 2ts) / (1 - s),

  sigma^2 = (t - s)(t + s - 2ts) / (1 - s)^2

does not, and the posterior shares them; t + s - 2ts itself is computed as
t (1 - s) + s (1 - t), of positive terms. Where a formula is 0/0 (s = t = 1,
t = 0) we take the limit s -> t, the identity kernel.
"""

import jax.numpy as jnp

from ntm.typing import Array


def forward_kernel(s, t) -> tuple[Array, Array]:
  """(alpha, sigma) of q(x_t | x_s) = N(alpha x_s, sigma^2 I) [2.3].

  Args:
    s: the cleaner level, any shape.
    t: the noisier level, s <= t <= 1, broadcast against s.

  Returns:
    alpha and sigma in [0, 1]; (1, 0) at s = t, (0, 1) at t = 1 > s.
  """
  s, t = _floats(s, t)
  below = jnp.where(s < 1, 1 - s, 1)
  alpha = jnp.where(s < 1, (1 - t) / below, 1)
  return alpha, jnp.sqrt(_product(s, t)) / below


def reverse_posterior(t, s) -> tuple[Array, Array, Array]:
  """(A, B, C) of q(x_s | x_t, x_0) = N(A x_t + B x_0, C^2 I) (Proposition 2).

  A = s^2 (1 - t) / (t^2 (1 - s)),  B = (t - s)(t + s - 2ts) / (t^2 (1 - s)),
  C^2 = s^2 (t - s)(t + s - 2ts) / (t^2 (1 - s)^2).
  They satisfy A (1 - t) + B = 1 - s and A^2 t^2 + C^2 = s^2.

  Args:
    t: the noisier level, any shape.
    s: the cleaner level, 0 <= s <= t, broadcast against t.

  Returns:
    A, B and C; (1, 0, 0) at s = t, (0, 1, 0) at s = 0 < t, (0, 1 - s, s) at t = 1 > s.
  """
  s, t = _floats(s, t)
  regular = (s < 1) & (t > 0)
  below = jnp.where(regular, 1 - s, 1)
  above = jnp.where(regular, t, 1)
  product = jnp.where(regular, _product(s, t), 0)
  ratio = s / above
  a = jnp.where(regular, ratio * ratio * (1 - t) / below, 1)
  b = product / (above * above * below)
  return a, b, ratio * jnp.sqrt(product) / below


def trajectory_covariance(times) -> Array:
  """Covariance of the states of a trajectory given x_0 (Proposition 3).

  S_ij = min^2 (1 - max) / (1 - min) of t_i and t_j, times the identity over
  the event axes.

  Args:
    times: levels, [K] or [K, B].

  Returns:
    S, [K, K] or [K, K, B].
  """
  (times,) = _floats(times)
  low = jnp.minimum(times[:, None], times[None, :])
  high = jnp.maximum(times[:, None], times[None, :])
  below = jnp.where(low < 1, 1 - low, 1)
  return low * low * jnp.where(low < 1, (1 - high) / below, 1)


def _product(s, t):
  """(t - s)(t + s - 2ts), without cancellation in the second factor."""
  return (t - s) * (t * (1 - s) + s * (1 - t))


def _floats(*values):
  """The values as arrays of at least float32 precision."""
  dtype = jnp.promote_types(jnp.result_type(float, *values), jnp.float32)
  return tuple(jnp.asarray(value, dtype) for value in values)
