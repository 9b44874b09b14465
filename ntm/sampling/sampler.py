"""Draws trajectories from a model [Algorithm 2].

u_T ~ N(0, I); for k = T .. 1: (mu, sigma) = f_P(u_k, t_k, t_{k-1}, y) and
u_{k-1} = mu + sigma z. The chain never leaves u-space; states are taken back to
data space, x_k = f_T^-1(u_k), only when asked for.

With a conditional transporter there is no common u-space and the chain is one of
data-space states, with an inverse per step:

  (mu, sigma, h) = f_P(x_k, t_k, t_{k-1}, y),  x_{k-1} = f_T^-1(mu + sigma z; t_{k-1}, h).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ntm.flows.solvers import SolverInfo
from ntm.models.ntm import NTM
from ntm.sampling import guidance as guidance_lib
from ntm.typing import Array, Condition, PRNGKey


def sample_trajectory(rng: PRNGKey, model: NTM, params, times_K: Array, shape: tuple[int, ...],
                      cond: Condition, guidance=None, null_cond: Condition | None = None,
                      start_BNC: Array | None = None, num_states: int = 1) -> tuple[Array, Array]:
  """The cleanest states of sampled trajectories in data space, with any transporter.

  Args:
    rng: a key.
    model: the density.
    params: its parameters.
    times_K: levels, ascending, ending at 1, or where `start_BNC` is.
    shape: (B, N, C).
    cond: class or text, and T of the whole trajectory, see `NTM.condition`.
    guidance: scale w, or None to leave the unconditional branch out.
    null_cond: what the unconditional branch reads, as `cond`; only read with guidance.
    start_BNC: the state at the last level to continue from (markov predictors only),
      as the predictor reads it, see `NTM.predictor_input`; None draws noise.
    num_states: how many states; T + 1 includes the one at the last level.

  Returns:
    (x_KBNC, cleanest state first; how many inverses an iterative solver left to the
    scan).

  Raises:
    ValueError: as `sample_u_trajectory`, but for a conditional transporter.
  """
  if not model.conditional:
    u_KBNC = sample_u_trajectory(rng, model, params, times_K, shape, cond, guidance, null_cond,
                                 start_BNC)
    last = min(num_states, max(len(times_K) - 1, 1))
    x_KBNC, fallbacks = to_data(model, params, u_KBNC[:last], times_K, cond)
    return (x_KBNC if num_states == last else jnp.concatenate([x_KBNC, u_KBNC[last:num_states]]),
            fallbacks)
  draw, start, inputs = _chain(rng, model, params, times_K, shape, cond, guidance, null_cond,
                               start_BNC)
  _, (x_SBNC, fallbacks_S) = jax.lax.scan(_data_step(draw, model, params, cond), start, inputs)
  return jnp.concatenate([x_SBNC[::-1], start[0][None]])[:num_states], fallbacks_S.sum()


def sample_denoiser_input(rng: PRNGKey, model: NTM, params, times_K: Array,
                          shape: tuple[int, ...], cond: Condition, guidance=None,
                          null_cond: Condition | None = None) -> tuple[Array, Array | None]:
  """What the denoiser reads of sampled trajectories: see `NTM.denoiser_input`.

  Arguments and errors as `sample_trajectory`. The cleanest state is not taken to data space.
  """
  if not model.conditional:
    return sample_u_trajectory(rng, model, params, times_K, shape, cond, guidance,
                               null_cond)[0], None
  draw, start, inputs = _chain(rng, model, params, times_K, shape, cond, guidance, null_cond)
  all_but_last, last = (jax.tree.map(lambda a, part=part: a[part], inputs)
                        for part in (slice(-1), -1))
  carry, _ = jax.lax.scan(_data_step(draw, model, params, cond), start, all_but_last)
  return draw(carry, last)[:2]


def sample_u_trajectory(rng: PRNGKey, model: NTM, params, times_K: Array, shape: tuple[int, ...],
                        cond: Condition, guidance=None, null_cond: Condition | None = None,
                        start_BNC: Array | None = None) -> Array:
  """The u-space states of sampled trajectories, as one scan over the steps.

  Args as `sample_trajectory`; `start_BNC` is in u-space.

  Returns:
    u_KBNC, cleanest state first; u_T is the noise.

  Raises:
    ValueError: a conditional transporter, whose states have no common u-space.
  """
  if model.conditional:
    raise ValueError("sample_u_trajectory is not supported with a conditional transporter "
                     "because its states have no common u-space; use sample_trajectory.")
  draw, start, inputs = _chain(rng, model, params, times_K, shape, cond, guidance, null_cond,
                               start_BNC)

  def step(carry, inputs):
    u_BNC, _, caches = draw(carry, inputs)
    return (u_BNC, caches, carry[2] + 1), u_BNC

  _, u_SBNC = jax.lax.scan(step, start, inputs)
  return jnp.concatenate([u_SBNC[::-1], start[0][None]])


def to_data(model: NTM, params, u_KBNC: Array, times_K: Array,
            cond: Condition) -> tuple[Array, Array]:
  """x_k = f_T^-1(u_k) of the cleanest states, all levels in parallel.

  Args:
    model: the density.
    params: its parameters.
    u_KBNC: the cleanest states of a trajectory in u-space, any number of them.
    times_K: levels of the whole trajectory, at least as many.
    cond: class or text, and T, see `NTM.condition`; of a conditional transporter also
      the features [K, B, N, F].

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


def chain_inputs(rng: PRNGKey, times_K: Array, shape: tuple[int, ...],
                 start_BNC: Array | None = None) -> tuple[Array, tuple[Array, Array, PRNGKey]]:
  """(the state at the last level, what a scan over the steps reads: t, s and a key of each).

  Arguments as `sample_trajectory`.
  """
  rng_noise, rng_steps = jax.random.split(rng)
  if start_BNC is None:
    start_BNC = jax.random.normal(rng_noise, shape, times_K.dtype)
  return start_BNC, (times_K[:0:-1], times_K[-2::-1],
                     jax.random.split(rng_steps, times_K.shape[0] - 1))


def _chain(rng, model, params, times_K, shape, cond, guidance, null_cond, start_BNC=None):
  """(draw, what a scan over the steps starts from, its inputs); arguments as `sample_trajectory`.

  The carry is (the state that the predictor reads, caches, steps done), an input (t, s, key),
  and `draw` of both gives (u_BNC at s, features_BNF or None, caches).

  Raises:
    ValueError: guidance of a conditional transporter.
  """
  if guidance is not None and model.conditional:
    raise ValueError("guidance is not supported with a conditional transporter because the "
                     "features, and with them u-space, are those of one branch; pass None.")
  batch_size = shape[0]
  start_BNC, inputs = chain_inputs(rng, times_K, shape, start_BNC)
  # With guidance, both branches go through the network as one batch.
  branches = 1 if guidance is None else 2
  if guidance is not None:
    cond = jax.tree.map(lambda *parts: jnp.concatenate(parts), cond, null_cond)
  double = lambda a: jnp.concatenate([a] * branches)
  rows = branches * batch_size

  def draw(carry, inputs):
    """One step of the predictor, see above."""
    state_BNC, caches, index = carry
    t, s, rng = inputs
    mean, log_scale, features, caches = model.apply(
        {"params": params}, double(state_BNC),
        cond.at(jnp.full((rows,), t), jnp.full((rows,), s)), caches, index,
        method="predict_step")
    if guidance is not None:
      halves = [(mean[:batch_size], log_scale[:batch_size]),
                (mean[batch_size:], log_scale[batch_size:])]
      mean, log_scale = guidance_lib.guide(*halves, guidance)
    u_BNC = mean + jnp.exp(log_scale) * jax.random.normal(rng, shape, mean.dtype)
    return u_BNC, features, caches

  start = (start_BNC, model.init_caches(rows, times_K.shape[0] - 1), jnp.int32(0))
  return draw, start, inputs


def _data_step(draw: Callable, model, params, cond) -> Callable:
  """One step of a chain in data space, for a scan: an inverse by the features of the step."""
  def step(carry, inputs):
    u_BNC, features_BNF, caches = draw(carry, inputs)
    x_KBNC, fallbacks = to_data(model, params, u_BNC[None], inputs[1][None],
                                cond.replace(features_BNF=features_BNF[None]))
    return (x_KBNC[0], caches, carry[2] + 1), (x_KBNC[0], fallbacks)

  return step
