"""The NTM density: the exact log-likelihood of a trajectory.

One step, by change of variables [3.3]:

  log p(x_s | x_t, y) = log N(f_T(x_s, s); mu_P, sigma_P^2) + log |det df_T(x_s)/dx_s|,
  (mu_P, sigma_P) = f_P(u_t, t, s, y),  u_t = f_T(x_t, t),

and over a trajectory log p(x_T) + sum_k log p(x_{k-1} | x_k, y), with x_T ~ N(0, I).
All terms in nats, summed over the event axes, constants included.
"""

import math

import flax.linen as nn
import jax.numpy as jnp

from ntm.flows.transporter import forward_over_levels, inverse_over_levels
from ntm.nn.partitioning import constrain
from ntm.typing import Array, Condition, Trajectory, TrajectoryLogProb


class NTM(nn.Module):
  """A Normalizing Trajectory Model over tokens.

  Attributes:
    transporter: f_T, a bijector (`ntm.flows.bijector`).
    predictor: f_P, as `ntm.models.predictor.Predictor`.
    reads_num_steps: one model for several T, whose parts read T.
  """

  transporter: nn.Module
  predictor: nn.Module
  reads_num_steps: bool = False

  @nn.nowrap
  def condition(self, cond: Condition, num_steps: int, batch_size: int) -> Condition:
    """The class or text of trajectories together with their T, if the model reads it."""
    num_steps_B = jnp.full((batch_size,), num_steps) if self.reads_num_steps else None
    return cond.replace(num_steps_B=num_steps_B)

  def transport(self, x_KBNC: Array, cond: Condition) -> tuple[Array, Array]:
    """f_T at every level: (u_KBNC, log_det_KB); the identity where t = 1. Times are [K, B]."""
    return forward_over_levels(self.transporter, x_KBNC, cond)

  def transport_inverse(self, u_KBNC: Array, cond: Condition) -> tuple[Array, Array]:
    """f_T^-1 at every level: (x_KBNC, log_det_KB); the identity where t = 1. Times are [K, B]."""
    return inverse_over_levels(self.transporter, u_KBNC, cond)

  def predict(self, u_SBNC: Array, cond: Condition,
              valid_SB: Array | None = None) -> tuple[Array, Array]:
    """(mu_P, log sigma_P) of every step: see `Predictor`."""
    return self.predictor(u_SBNC, cond, valid_SB)

  def predict_step(self, u_BNC: Array, cond: Condition, caches: list | None, index: Array):
    """`predict` of one step, after those in the caches: see `Predictor.step`."""
    return self.predictor.step(u_BNC, cond, caches, index)

  @nn.nowrap
  def init_caches(self, batch_size: int, num_steps: int) -> list | None:
    """What `predict_step` starts from."""
    return self.predictor.init_caches(batch_size, num_steps)

  def log_prob(self, trajectory: Trajectory, ends_at_noise: bool = True) -> TrajectoryLogProb:
    """The exact log-likelihood of trajectories [3.4].

    Args:
      trajectory: states, levels and conditions.
      ends_at_noise: static; the last level is t = 1 for every example. It is
        then not transported, and counted as the prior. Pass False for pairs
        of levels cut out of a trajectory.

    Returns:
      The terms, in nats, float32 or better.
    """
    x_KBNC = constrain(trajectory.x_KBNC, None, "batch", None, None)
    times_KB, cond = trajectory.times_KB, trajectory.cond
    if ends_at_noise:
      u_SBNC, log_det_SB = self.transport(x_KBNC[:-1], cond.at(times_KB[:-1]))
      u_KBNC = jnp.concatenate([u_SBNC, x_KBNC[-1:]])
      prior_B = standard_normal_log_prob(x_KBNC[-1])
    else:
      u_KBNC, log_det_KB = self.transport(x_KBNC, cond.at(times_KB))
      log_det_SB = log_det_KB[:-1]
      prior_B = jnp.zeros_like(log_det_KB[0])
    mean_SBNC, log_scale_SBNC = self.predict(
        u_KBNC[1:], cond.at(times_KB[1:], times_KB[:-1]), trajectory.valid_SB)
    z_SBNC = (u_KBNC[:-1] - mean_SBNC) * jnp.exp(-log_scale_SBNC)
    step_SB = standard_normal_log_prob(z_SBNC) - log_scale_SBNC.sum(axis=(-2, -1)) + log_det_SB
    return TrajectoryLogProb(step_SB=jnp.where(trajectory.valid_SB > 0, step_SB, 0),
                             prior_B=prior_B, log_det_SB=log_det_SB, mean_SBNC=mean_SBNC,
                             log_scale_SBNC=log_scale_SBNC, z_SBNC=z_SBNC)


def standard_normal_log_prob(z: Array) -> Array:
  """log N(z; 0, I), summed over the last two axes, in nats."""
  return -0.5 * (z * z + math.log(2 * math.pi)).sum(axis=(-2, -1))
