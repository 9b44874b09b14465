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
from ntm.typing import Array, PRNGKey


def sample_latents(rng: PRNGKey, model: NTM, params, times_K: Array, batch_size: int,
                   label_B: Array | None = None, guidance=None, start_BNC: Array | None = None,
                   num_steps: int | None = None, null_B: Array | None = None) -> Array:
  """The u-space states of sampled trajectories, as one scan over the steps.

  Args:
    rng: a key.
    model: the density.
    params: its parameters.
    times_K: levels, ascending, ending at 1, or where `start_BNC` is.
    batch_size: trajectories.
    label_B: class indices or text features; None for an unconditional model.
    guidance: scale w, or None to leave the unconditional branch out.
    start_BNC: the state at the last level, in u-space, to continue from (markov
      predictors only); None draws noise.
    num_steps: T of the whole trajectory; None is the number of steps taken.
    null_B: what the unconditional branch reads; None is the null class.

  Returns:
    u_KBNC, cleanest state first; u_T is the noise.
  """
  steps_taken = times_K.shape[0] - 1
  num_steps = steps_taken if num_steps is None else num_steps
  rng_noise, rng_steps = jax.random.split(rng)
  config = model.config
  shape = (batch_size, config.num_tokens, config.num_channels)
  if start_BNC is None:
    start_BNC = jax.random.normal(rng_noise, shape, times_K.dtype)
  # With guidance, both branches go through the network as one batch.
  branches = 1 if guidance is None else 2
  if guidance is not None:
    null_B = jnp.full((batch_size,), config.num_classes) if null_B is None else null_B
    label_B = jnp.concatenate([label_B, null_B])
  double = lambda a: jnp.concatenate([a] * branches)
  rows = branches * batch_size
  num_steps_B = jnp.full((rows,), num_steps) if model.multi_step else None

  def step(carry, inputs):
    u_BNC, caches, index = carry
    t, s, rng = inputs
    mean, log_scale, caches = model.apply(
        {"params": params}, double(u_BNC), jnp.full((rows,), t), jnp.full((rows,), s), label_B,
        num_steps_B, caches, index, method="predict_step")
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


def to_data(model: NTM, params, u_KBNC: Array, times_K: Array, label_B: Array | None,
            num_steps: int) -> tuple[Array, Array]:
  """x_k = f_T^-1(u_k) of the cleanest states, all levels in parallel.

  Args:
    model: the density.
    params: its parameters.
    u_KBNC: the cleanest states of a trajectory in u-space, any number of them.
    times_K: levels of the whole trajectory, at least as many.
    label_B: class indices, or None.
    num_steps: T.

  Returns:
    (x_KBNC, as many states; how many inverses an iterative solver left to the
    scan). A state at t = 1 is returned as it is.
  """
  times_KB = jnp.broadcast_to(times_K[:u_KBNC.shape[0], None], u_KBNC.shape[:2])
  num_steps_B = jnp.full(u_KBNC.shape[1:2], num_steps) if model.multi_step else None
  (x_KBNC, _), extra = model.apply({"params": params}, u_KBNC, times_KB, label_B, num_steps_B,
                                   method="untransport", mutable=["diagnostics"])
  infos = jax.tree.leaves(extra, is_leaf=lambda node: isinstance(node, SolverInfo))
  return x_KBNC, sum((info.fallbacks for info in infos), jnp.int32(0))
