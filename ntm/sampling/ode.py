"""Samplers of a velocity model: the baselines, from noise to data in n steps.

With x_0 = x_t - t v(x_t, t) the model's clean estimate, one step from level t
to level s < t is, by solver,

  euler     x_s = x_t + (s - t) v(x_t, t);
  heun      the mean of v at both ends in place of v(x_t, t); the last step,
            which ends on data, is Euler's;
  dpm++     DPM-Solver++(2M) [arXiv 2211.01095] with alpha = 1 - t, sigma = t:
            x_s = (s/t) x_t + (1 - s/t) D, where D extrapolates the clean
            estimates of two steps, D = x_0 + h / (2 h') (x_0 - x_0'), in
            log-SNR; h and h' are the lengths of this step and of the one
            before. The first and the last step are infinite in log-SNR, so they and
            the second use D = x_0, and up to three steps are Euler's;
  gaussian  x_s = A x_t + B x_0 + C z, z ~ N(0, I): the posterior given the clean
            estimate (Proposition 2), the model's best Gaussian chain.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ntm.config import ProcessConfig
from ntm.models.velocity import Velocity
from ntm.nn.patchify import Patches
from ntm.process import schedule
from ntm.process.kernel import reverse_posterior
from ntm.sampling import gathering
from ntm.typing import Array, Condition, PRNGKey

SOLVERS = ("euler", "heun", "dpm++", "gaussian")


def evaluations(solver: str, num_steps: int) -> int:
  """Network evaluations of one sample; guidance doubles them."""
  return 2 * num_steps - 1 if solver == "heun" else num_steps


def guided(velocity: Callable, cond: Condition, null_cond: Condition | None,
           guidance) -> Callable:
  """v_c + w (v_c - v_null), both branches as one batch; w = None leaves the second out.

  Args:
    velocity: (x_BNC, cond) → v_BNC.
    cond: class or text.
    null_cond: the same of the second branch.
    guidance: scale w, 0 gives v_c.

  Returns:
    (x_BNC, t) → v_BNC.
  """
  if guidance is None:
    return lambda x_BNC, t: velocity(x_BNC, cond.at(jnp.full(x_BNC.shape[:1], t)))
  conds = jax.tree.map(lambda *parts: jnp.concatenate(parts), cond, null_cond)

  def both(x_BNC, t):
    doubled = jnp.concatenate([x_BNC, x_BNC])
    conditional, null = jnp.split(velocity(doubled, conds.at(jnp.full(doubled.shape[:1], t))), 2)
    return conditional + guidance * (conditional - null)

  return both


def sample(rng: PRNGKey, velocity: Callable, times_K: Array, shape: tuple[int, ...],
           solver: str) -> Array:
  """All states from noise to the cleanest level, as one scan.

  Args:
    rng: a key; noise of the start and of every step.
    velocity: (x_BNC, t) → v_BNC.
    times_K: levels, ascending, the last one 1.
    shape: (B, N, C).
    solver: one of `SOLVERS`.

  Returns:
    x_KBNC, cleanest state first.

  Raises:
    ValueError: an unknown solver.
  """
  if solver not in SOLVERS:
    raise ValueError(f"solver is {solver!r}; expected one of {', '.join(SOLVERS)}.")
  rng_start, rng_steps = jax.random.split(rng)
  start_BNC = jax.random.normal(rng_start, shape, times_K.dtype)

  def step(carry, inputs):
    """From level t to s; carries the state and, for dpm++, what the next step extrapolates."""
    x_BNC, clean_BNC, length = carry
    t, s, rng = inputs
    v_BNC = velocity(x_BNC, t)
    previous_BNC, clean_BNC = clean_BNC, x_BNC - t * v_BNC
    if solver == "heun":
      euler_BNC = x_BNC + (s - t) * v_BNC
      # `cond`: the last step has no second evaluation.
      x_BNC = jax.lax.cond(
          s > 0, lambda: x_BNC + (s - t) / 2 * (v_BNC + velocity(euler_BNC, s)),
          lambda: euler_BNC)
    elif solver == "euler":
      x_BNC = x_BNC + (s - t) * v_BNC
    elif solver == "gaussian":
      a, b, c = reverse_posterior(t, s)
      x_BNC = a * x_BNC + b * clean_BNC + c * jax.random.normal(rng, shape, x_BNC.dtype)
    else:
      last_length, length = length, _log_snr(s) - _log_snr(t)
      # The first step's length is infinite; so is the last one's.
      extrapolation = jnp.where(jnp.isfinite(length), length / (2 * last_length), 0)
      d_BNC = clean_BNC + extrapolation * (clean_BNC - previous_BNC)
      x_BNC = s / t * x_BNC + (1 - s / t) * d_BNC
    return (x_BNC, clean_BNC, length), x_BNC

  inputs = (times_K[:0:-1], times_K[-2::-1], jax.random.split(rng_steps, len(times_K) - 1))
  carry = (start_BNC, jnp.zeros_like(start_BNC), jnp.full((), jnp.inf, times_K.dtype))
  _, x_SBNC = jax.lax.scan(step, carry, inputs)
  return jnp.concatenate([x_SBNC[::-1], start_BNC[None]])


def make_generator(model: Velocity, patches: Patches, process: ProcessConfig) -> Callable:
  """Builds the jitted sampler of a velocity model, down to t = 0.

  Args:
    model: the velocity network.
    patches: images to tokens and back.
    process: its schedule.

  Returns:
    (rng, params, cond, batch_size, num_steps, solver, guidance or None, null_cond or
    None) → images, [B, *image_shape]; batch_size, num_steps and solver static. With
    guidance, the second branch reads `null_cond`.
  """
  def generate(rng, params, cond, batch_size: int, num_steps: int, solver: str, guidance=None,
               null_cond=None):
    """Images; arguments as above."""
    times_K = schedule.padded_times(process.schedule, num_steps, num_steps, 0.0,
                                    patches.token_shape[0])
    shape = (batch_size, *patches.token_shape)
    variables = {"params": gathering.velocity(model, params, jnp.zeros(shape), cond)}
    velocity = guided(lambda *args: model.apply(variables, *args), cond, null_cond, guidance)
    x_KBNC = sample(rng, velocity, times_K, shape, solver)
    return patches.to_images(x_KBNC[0])

  return jax.jit(generate, static_argnums=(3, 4, 5))


def _log_snr(t):
  """log(alpha / sigma) of level t."""
  return jnp.log((1 - t) / t)
