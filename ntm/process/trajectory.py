"""Draws the states, levels and numbers of steps of forward trajectories from data."""

import jax
import jax.numpy as jnp

from ntm.config import ProcessConfig
from ntm.process import kernel, schedule
from ntm.typing import Array, Condition, PRNGKey, Trajectory


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


def draw_trajectory(rng: PRNGKey, x0_BNC: Array, cond: Condition, process: ProcessConfig,
                    t_min_B: Array | None = None, num_steps: int | None = None) -> Trajectory:
  """Forward trajectories with each example's own t_min, and its own T.

  Args:
    rng: a key.
    x0_BNC: clean tokens.
    cond: class or text.
    process: schedule, the set of T, range of t_min.
    t_min_B: given levels instead of draws from the training range.
    num_steps: one T for all instead of draws from the set.

  Returns:
    K = max T + 1 levels, padded with t = 1.
  """
  rng_t, rng_steps, rng_x = jax.random.split(rng, 3)
  batch_size, num_tokens = x0_BNC.shape[:2]
  if t_min_B is None:
    t_min_B = schedule.draw_t_min(rng_t, batch_size, process.t_min_low, process.t_min_high)
  max_steps = max(process.num_steps) if num_steps is None else num_steps
  if num_steps is not None or len(process.num_steps) == 1:
    num_steps_B = jnp.full((batch_size,), max_steps)
  else:
    num_steps_B = jax.random.choice(rng_steps, jnp.asarray(process.num_steps), (batch_size,))
  times_KB = schedule.padded_times(process.schedule, num_steps_B, max_steps, t_min_B,
                                   num_tokens)
  valid_SB = (jnp.arange(max_steps)[:, None] < num_steps_B).astype(times_KB.dtype)
  return Trajectory(sample_trajectory(rng_x, x0_BNC, times_KB), times_KB,
                    _with_num_steps(cond, num_steps_B, process), valid_SB)


def draw_pair(rng: PRNGKey, x0_BNC: Array, cond: Condition, process: ProcessConfig):
  """One random consecutive pair (t_{k-1}, t_k) of every example's trajectory.

  The chain is Markov with known marginals, so the pair is drawn without the
  states around it.

  Returns:
    (trajectory of two levels, k_B with 0 the cleanest step).
  """
  rng_t, rng_steps, rng_k, rng_x = jax.random.split(rng, 4)
  batch_size, num_tokens = x0_BNC.shape[:2]
  t_min_B = schedule.draw_t_min(rng_t, batch_size, process.t_min_low, process.t_min_high)
  num_steps_B = jax.random.choice(rng_steps, jnp.asarray(process.num_steps), (batch_size,))
  times_KB = schedule.padded_times(process.schedule, num_steps_B, max(process.num_steps), t_min_B,
                                   num_tokens)
  k_B = jax.random.randint(rng_k, (batch_size,), 0, num_steps_B)
  pair_2B = jnp.take_along_axis(times_KB, jnp.stack([k_B, k_B + 1]), axis=0)
  return Trajectory(sample_trajectory(rng_x, x0_BNC, pair_2B), pair_2B,
                    _with_num_steps(cond, num_steps_B, process), jnp.ones((1, batch_size))), k_B


def _with_num_steps(cond, num_steps_B, process):
  """The condition with T, which is given only where one model serves several."""
  return cond.replace(num_steps_B=num_steps_B if len(process.num_steps) > 1 else None)


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
