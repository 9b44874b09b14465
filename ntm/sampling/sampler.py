"""Draws trajectories from a model [Algorithm 2].

u_T ~ N(0, I); for k = T .. 1: (mu, sigma) = f_P(u_k, t_k, t_{k-1}, y) and
u_{k-1} = mu + sigma z. The chain never leaves u-space; states are taken back to
data space, x_k = f_T^-1(u_k), only when asked for.
"""

import jax
import jax.numpy as jnp

from ntm.flows.solvers import SolverInfo
from ntm.models.ntm import NTM
from ntm.sampling import guidance as guidance_lib
from ntm.typing import Array, Condition, PRNGKey


def sample_u_trajectory(rng: PRNGKey, model: NTM, params, times_K: Array, shape: tuple[int, ...],
                        cond: Condition, guidance=None, null_cond: Condition | None = None,
                        start_BNC: Array | None = None) -> Array:
  """The u-space states of sampled trajectories, as one scan over the steps.

  Args:
    rng: a key.
    model: the density.
    params: its parameters.
    times_K: levels, ascending, ending at 1, or where `start_BNC` is.
    shape: (B, N, C).
    cond: class or text, and T of the whole trajectory, see `NTM.condition`.
    guidance: scale w, or None to leave the unconditional branch out.
    null_cond: what the unconditional branch reads, as `cond`; only read with guidance.
    start_BNC: the state at the last level, in u-space, to continue from (markov
      predictors only); None draws noise.

  Returns:
    u_KBNC, cleanest state first; u_T is the noise.
  """
  batch_size, steps_taken = shape[0], times_K.shape[0] - 1
  rng_noise, rng_steps = jax.random.split(rng)
  if start_BNC is None:
    start_BNC = jax.random.normal(rng_noise, shape, times_K.dtype)
  # With guidance, both branches go through the network as one batch.
  branches = 1 if guidance is None else 2
  if guidance is not None:
    cond = jax.tree.map(lambda *parts: jnp.concatenate(parts), cond, null_cond)
  double = lambda a: jnp.concatenate([a] * branches)
  rows = branches * batch_size

  def step(carry, inputs):
    u_BNC, caches, index = carry
    t, s, rng = inputs
    mean, log_scale, caches = model.apply(
        {"params": params}, double(u_BNC), cond.at(jnp.full((rows,), t), jnp.full((rows,), s)),
        caches, index, method="predict_step")
    if guidance is not None:
      halves = [(mean[:batch_size], log_scale[:batch_size]),
                (mean[batch_size:], log_scale[batch_size:])]
      mean, log_scale = guidance_lib.guide(*halves, guidance)
    u_BNC = mean + jnp.exp(log_scale) * jax.random.normal(rng, shape, mean.dtype)
    return (u_BNC, caches, index + 1), u_BNC

  carry = (start_BNC, model.init_caches(rows, steps_taken), jnp.int32(0))
  inputs = (times_K[:0:-1], times_K[-2::-1], jax.random.split(rng_steps, steps_taken))
  _, u_SBNC = jax.lax.scan(step, carry, inputs)
  return jnp.concatenate([u_SBNC[::-1], start_BNC[None]])


def to_data(model: NTM, params, u_KBNC: Array, times_K: Array,
            cond: Condition) -> tuple[Array, Array]:
  """x_k = f_T^-1(u_k) of the cleanest states, all levels in parallel.

  Args:
    model: the density.
    params: its parameters.
    u_KBNC: the cleanest states of a trajectory in u-space, any number of them.
    times_K: levels of the whole trajectory, at least as many.
    cond: class or text, and T, see `NTM.condition`.

  Returns:
    (x_KBNC, as many states; how many inverses an iterative solver left to the
    scan). A state at t = 1 is returned as it is.
  """
  times_KB = jnp.broadcast_to(times_K[:u_KBNC.shape[0], None], u_KBNC.shape[:2])
  (x_KBNC, _), extra = model.apply({"params": params}, u_KBNC, cond.at(times_KB),
                                   method="transport_inverse", mutable=["diagnostics"])
  infos = jax.tree.leaves(extra, is_leaf=lambda node: isinstance(node, SolverInfo))
  return x_KBNC, sum((info.fallbacks for info in infos if isinstance(info, SolverInfo)),
                     jnp.int32(0))
