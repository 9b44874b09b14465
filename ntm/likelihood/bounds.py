"""Likelihood of images under a trained model.

The model's density is over trajectories. For x_0 we draw x_{t_0}, ..., x_T from
the forward process q and report, all in nats over all dimensions:

  trajectory  log p(x_{t_0}, ..., x_T | y), and its steps log p(x_{k-1} | x_k, y);
  bound       log p(x_{t_0}, ..., x_T | y) - log q(x_{t_1}, ..., x_T | x_{t_0}),
              whose mean is a lower bound on log p(x_{t_0} | y).

`bits_per_dim` is -bound / (N C log 2): of the density of the state at level t_0
in the model's own scale [-1, 1], without dequantisation.

Data come in levels h apart (digits: 17 levels, h = 1/8; 8-bit images:
h = 1/127.5), and a bound on the probability of the levels themselves needs
dequantisation. The noise at t_0 is one: with v ~ N(0, (t_0 / (1 - t_0))^2) cut
off at +-h/2, density q(v), x_{t_0} = (1 - t_0)(x_0 + v), and x_{t_1}, ... from
the forward chain,

  w = p(x_{t_0}, ..., x_T) (1 - t_0)^(N C) / (q(v) q(x_{t_1}, ..., x_T | x_{t_0})),
  log P(x_0) >= E log (w_1 + ... + w_K) / K,

a bound that tightens with K (importance weighting). With T = 1 and a predictor
that does not read the noise, w does not depend on x_T: what is left to bound is
v alone.
"""

import math

import flax.struct
import jax
import jax.numpy as jnp

from ntm.config import Config, ProcessConfig
from ntm.models.ntm import NTM, standard_normal_log_prob
from ntm.process import schedule
from ntm.process.kernel import forward_kernel
from ntm.process.trajectory import continue_trajectory, sample_trajectory
from ntm.typing import Array, Condition, PRNGKey, Trajectory


@flax.struct.dataclass
class Likelihood:
  """Per example, in nats unless said otherwise.

  Attributes:
    log_prob_B: log p of the whole trajectory, prior included.
    step_SB: log p(x_{k-1} | x_k, y), k = 1 first.
    bound_B: one-sample lower bound on log p(x_{t_0} | y).
    nats_per_dim_B: -mean_k step / (N C), the training loss.
    bits_per_dim_B: -bound / (N C log 2).
  """

  log_prob_B: Array
  step_SB: Array
  bound_B: Array
  nats_per_dim_B: Array
  bits_per_dim_B: Array


def likelihood(model: NTM, params, trajectory: Trajectory) -> Likelihood:
  """Evaluates trajectories drawn from the forward process.

  Args:
    model: the density.
    params: its parameters.
    trajectory: states ending at noise; levels strictly ascending.

  Returns:
    The figures above.
  """
  result = model.apply({"params": params}, trajectory, method="log_prob")
  x_KBNC, times_KB = trajectory.x_KBNC, trajectory.times_KB
  dimensions = x_KBNC.shape[-2] * x_KBNC.shape[-1]
  alpha_SB, sigma_SB = forward_kernel(times_KB[:-1], times_KB[1:])
  noise_SBNC = ((x_KBNC[1:] - alpha_SB[..., None, None] * x_KBNC[:-1])
                / sigma_SB[..., None, None])
  forward_B = (standard_normal_log_prob(noise_SBNC) - dimensions * jnp.log(sigma_SB)).sum(axis=0)
  bound_B = result.total_B - forward_B
  return Likelihood(
      log_prob_B=result.total_B, step_SB=result.step_SB, bound_B=bound_B,
      nats_per_dim_B=-result.step_SB.mean(axis=0) / dimensions,
      bits_per_dim_B=-bound_B / (dimensions * math.log(2)))


def log_weight(rng: PRNGKey, model: NTM, params, x_BNC: Array, times_KB: Array,
               cond: Condition) -> Array:
  """log p(x_{t_0}, ..., x_T) - log q(x_{t_1}, ..., x_T | x_{t_0}) of one draw, [B], in nats.

  Args:
    rng: a key, of the forward chain.
    model: the density.
    params: its parameters.
    x_BNC: the state at t_0.
    times_KB: strictly ascending levels, t_0 first, 1 last.
    cond: class or text, and T, see `NTM.condition`.
  """
  x_KBNC = continue_trajectory(rng, x_BNC, times_KB)
  trajectory = Trajectory(x_KBNC, times_KB, cond, jnp.ones_like(times_KB[1:]))
  return likelihood(model, params, trajectory).bound_B


def draw_log_weight(rng: tuple[PRNGKey, PRNGKey], model: NTM, params, x0_BNC: Array,
                    cond: Condition, process: ProcessConfig, num_steps: int,
                    level_spacing: float | None) -> Array:
  """One importance weight per example, log w, [B], in nats.

  Args:
    rng: keys of the state at t_0 and of the forward chain.
    model: the density.
    params: its parameters.
    x0_BNC: clean data.
    cond: class or text, and T, see `NTM.condition`.
    process: schedule and t_min.
    num_steps: T.
    level_spacing: h, for the probability of the data's levels; None is the density at t_0.
  """
  rng_state, rng_chain = rng
  times_K = schedule.padded_times(process.schedule, num_steps, num_steps, process.t_min,
                                  x0_BNC.shape[1])
  times_KB = jnp.broadcast_to(times_K[:, None], (num_steps + 1, len(x0_BNC)))
  if level_spacing is None:
    x_BNC, extra_B = sample_trajectory(rng_state, x0_BNC, times_KB[:1])[0], 0.0
  else:
    x_BNC, extra_B = dequantise(rng_state, x0_BNC, process.t_min, level_spacing)
  return extra_B + log_weight(rng_chain, model, params, x_BNC, times_KB, cond)


def dequantise(rng: PRNGKey, x0_BNC: Array, t_min: float, level_spacing: float):
  """Noise of level t_min that stays within the levels' own cells.

  Args:
    rng: a key.
    x0_BNC: data on their levels.
    t_min: the level t_0.
    level_spacing: h.

  Returns:
    (x_BNC at t_0, -log q(v) + N C log(1 - t_0) [B], to be added to `log_weight`).
  """
  scale = t_min / (1 - t_min)
  edge = level_spacing / 2 / scale
  z_BNC = jax.random.truncated_normal(rng, -edge, edge, x0_BNC.shape, x0_BNC.dtype)
  return ((1 - t_min) * (x0_BNC + scale * z_BNC),
          dequantisation_log_weight(z_BNC, t_min, level_spacing))


def dequantisation_log_weight(z_BNC: Array, t_min: float, level_spacing: float) -> Array:
  """-log q(v) + N C log(1 - t_0) of noise that dequantises, [B], in nats.

  Args:
    z_BNC: the noise v in units of its scale t_0 / (1 - t_0).
    t_min: the level t_0.
    level_spacing: h.
  """
  scale = t_min / (1 - t_min)
  log_mass = math.log(math.erf(level_spacing / 2 / scale / math.sqrt(2)))
  dimensions = z_BNC.shape[-2] * z_BNC.shape[-1]
  log_q_B = standard_normal_log_prob(z_BNC) - dimensions * (math.log(scale) + log_mass)
  return dimensions * math.log(1 - t_min) - log_q_B


def importance_bound(log_weight_JB: Array, count: int) -> Array:
  """log of the mean of `count` weights, averaged over J // count groups of draws: [B], nats.

  Args:
    log_weight_JB: of J independent draws.
    count: K, at most J.
  """
  groups = len(log_weight_JB) // count
  grouped = log_weight_JB[:groups * count].reshape(groups, count, -1)
  return (jax.nn.logsumexp(grouped, axis=1) - math.log(count)).mean(axis=0)


def check_comparable(first: Config, second: Config) -> None:
  """Raises ValueError unless two models assign probabilities to the same things."""
  for name, one, other in (
      ("image_shape", first.model.image_shape, second.model.image_shape),
      ("data", first.data, second.data),
      ("t_min, the noise that dequantises", first.process.t_min, second.process.t_min)):
    if one != other:
      raise ValueError(f"the models differ in {name}: {one} and {other}; their likelihoods are of "
                       "different things. Compare models trained on the same data and levels.")
