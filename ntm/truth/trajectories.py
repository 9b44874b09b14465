"""Exact densities of trajectories, and exact draws from their reverse steps.

The forward chain is Markov, so every reverse step follows from the noisy
densities by Bayes' rule,

  q(x_s | x_t) = q_s(x_s) N(x_t; alpha x_s, sigma^2 I) / q_t(x_t),

and a trajectory's density is their product with q(x_T) = N(0, I). Draws go
through the clean data: a component, x_0 ~ q(x_0 | x_t, j), and the posterior
x_s = A x_t + B x_0 + C eps of Proposition 2, from which follow the moments too,

  E[x_s | x_t] = A x_t + B E[x_0 | x_t],  Cov[x_s | x_t] = B^2 Cov[x_0 | x_t] + C^2 I.

States are images, flattened: [..., D]. Levels broadcast against [...].
"""

import math

import jax
import jax.numpy as jnp

from ntm.process.kernel import forward_kernel, reverse_posterior
from ntm.truth.mixtures import Mixture
from ntm.typing import Array, PRNGKey


def log_components(mixture: Mixture, x: Array, t, component: Array | None = None) -> Array:
  """log w_j + log q_t(x | j), [..., J], in nats.

  Args:
    mixture: of the data.
    x: states at level t, [..., D].
    t: levels.
    component: condition on this one per state, [...]: its weight is 1, that of others 0.
  """
  log_J = mixture.log_components(x, t)
  if component is None:
    return log_J
  chosen = jnp.asarray(component)[..., None] == jnp.arange(log_J.shape[-1])
  return jnp.where(chosen, log_J - mixture.log_weight_J, -jnp.inf)


def log_density(mixture: Mixture, x: Array, t, component: Array | None = None) -> Array:
  """log q_t(x), [...], in nats. Arguments as `log_components`."""
  return jax.nn.logsumexp(log_components(mixture, x, t, component), axis=-1)


def log_steps(mixture: Mixture, x_KBD: Array, times_KB: Array,
              component_B: Array | None = None) -> Array:
  """log q(x_{k-1} | x_k) of every step, [S, B], k = 1 first, in nats.

  With log N(x_T; 0, I) they sum to the log density of the trajectory.

  Args:
    mixture: of the data.
    x_KBD: states, cleanest first.
    times_KB: their levels, [K] or [K, B].
    component_B: condition on these components.
  """
  times_KB = jnp.broadcast_to(jnp.asarray(times_KB).reshape(len(x_KBD), -1), x_KBD.shape[:2])
  log_K = log_density(mixture, x_KBD, times_KB, component_B)
  alpha_SB, sigma_SB = forward_kernel(times_KB[:-1], times_KB[1:])
  noise = (x_KBD[1:] - alpha_SB[..., None] * x_KBD[:-1]) / sigma_SB[..., None]
  forward_SB = (-0.5 * (noise ** 2 + math.log(2 * math.pi)).sum(axis=-1)
                - x_KBD.shape[-1] * jnp.log(sigma_SB))
  return log_K[:-1] + forward_SB - log_K[1:]


def sample_step(rng: PRNGKey, mixture: Mixture, x: Array, t, s,
                component: Array | None = None) -> Array:
  """Draws x_s ~ q(x_s | x_t), [..., D]; from noise at t = 1, exact draws of level s.

  Args:
    rng: a key.
    mixture: of the data.
    x: states at level t, [..., D].
    t: their levels.
    s: the cleaner levels, s < t.
    component: condition on these components, [...].
  """
  rng_component, rng_clean, rng_noise = jax.random.split(rng, 3)
  log_J = log_components(mixture, x, t, component)
  drawn = jax.random.categorical(rng_component, log_J)
  x0 = mixture.sample_clean(rng_clean, x, t, drawn)
  a, b, c = (part[..., None] for part in reverse_posterior(t, s))
  return a * x + b * x0 + c * jax.random.normal(rng_noise, x0.shape, x0.dtype)


def step_moments(mixture: Mixture, x: Array, t, s, full_covariance: bool = False,
                 component: Array | None = None) -> tuple[Array, Array]:
  """Mean [..., D] and variances [..., D], or covariance [..., D, D], of q(x_s | x_t).

  Args:
    mixture: of the data.
    x: states at level t, [..., D].
    t: their levels.
    s: the cleaner levels, s < t.
    full_covariance: the covariance rather than its diagonal.
    component: condition on these components, [...].
  """
  weight_J = jax.nn.softmax(log_components(mixture, x, t, component))
  mean, variance = mixture.clean_moments(x, t)
  mean0 = jnp.einsum("...j,...jd->...d", weight_J, mean)
  offset = mean - mean0[..., None, :]
  a, b, c = (part[..., None] for part in reverse_posterior(t, s))
  spread = b ** 2 * jnp.einsum("...j,...jd->...d", weight_J, variance) + c ** 2
  if full_covariance:
    between = jnp.einsum("...j,...jd,...je->...de", weight_J, offset, offset)
    covariance = b[..., None] ** 2 * between + spread[..., None] * jnp.eye(x.shape[-1])
  else:
    covariance = b ** 2 * jnp.einsum("...j,...jd->...d", weight_J, offset ** 2) + spread
  return a * x + b * mean0, covariance
