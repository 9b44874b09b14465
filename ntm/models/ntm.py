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

from ntm.config import Config, ModelConfig
from ntm.flows.transporter import Transporter, forward_over_levels, inverse_over_levels
from ntm.models.predictor import Predictor
from ntm.nn.partitioning import constrain
from ntm.typing import Array, Condition, Trajectory, TrajectoryLogProb


class NTM(nn.Module):
  """A Normalizing Trajectory Model over tokens.

  Attributes:
    config: shapes and numerics.
    multi_step: one model for several T; transporter and predictor then read T.
    dtype: compute type of the networks.
    param_dtype: parameter type.
  """

  config: ModelConfig
  multi_step: bool = False
  dtype: jnp.dtype = jnp.float32
  param_dtype: jnp.dtype = jnp.float32

  def setup(self):
    """Makes the submodules."""
    args = (self.config, self.multi_step, self.dtype, self.param_dtype)
    self.transporter = Transporter(*args)
    self.predictor = Predictor(*args)

  def transport(self, x_KBNC: Array, times_KB: Array, label_B: Array | None = None,
                num_steps_B: Array | None = None) -> tuple[Array, Array]:
    """f_T at every level: (u_KBNC, log_det_KB); the identity where t = 1."""
    return forward_over_levels(
        self.transporter, x_KBNC, Condition(times_KB, num_steps_B, label_B))

  def untransport(self, u_KBNC: Array, times_KB: Array, label_B: Array | None = None,
                  num_steps_B: Array | None = None) -> tuple[Array, Array]:
    """f_T^-1 at every level: (x_KBNC, log_det_KB); the identity where t = 1."""
    return inverse_over_levels(
        self.transporter, u_KBNC, Condition(times_KB, num_steps_B, label_B))

  def predict(self, u_SBNC: Array, t_SB: Array, s_SB: Array, label_B: Array | None = None,
              num_steps_B: Array | None = None,
              valid_SB: Array | None = None) -> tuple[Array, Array]:
    """(mu_P, log sigma_P) of every step, from u at level t to level s."""
    valid_SB = jnp.ones_like(t_SB) if valid_SB is None else valid_SB
    return self.predictor(u_SBNC, t_SB, s_SB, label_B, num_steps_B, valid_SB)

  def predict_step(self, u_BNC: Array, t_B: Array, s_B: Array, label_B: Array | None,
                   num_steps_B: Array | None, caches: list | None, index: Array):
    """`predict` of one step, after those in the caches: see `Predictor.step`."""
    return self.predictor.step(u_BNC, t_B, s_B, label_B, num_steps_B, caches, index)

  @nn.nowrap
  def init_caches(self, batch_size: int, num_steps: int) -> list | None:
    """What `predict_step` starts from."""
    return Predictor(self.config, self.multi_step, self.dtype, parent=None).init_caches(
        batch_size, num_steps)

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
    times_KB = trajectory.times_KB
    conditions = (trajectory.label_B, trajectory.num_steps_B)
    if ends_at_noise:
      u_SBNC, log_det_SB = self.transport(x_KBNC[:-1], times_KB[:-1], *conditions)
      u_KBNC = jnp.concatenate([u_SBNC, x_KBNC[-1:]])
      prior_B = standard_normal_log_prob(x_KBNC[-1])
    else:
      u_KBNC, log_det_KB = self.transport(x_KBNC, times_KB, *conditions)
      log_det_SB = log_det_KB[:-1]
      prior_B = jnp.zeros_like(log_det_KB[0])
    mean_SBNC, log_scale_SBNC = self.predict(
        u_KBNC[1:], times_KB[1:], times_KB[:-1], *conditions, trajectory.valid_SB)
    z_SBNC = (u_KBNC[:-1] - mean_SBNC) * jnp.exp(-log_scale_SBNC)
    step_SB = standard_normal_log_prob(z_SBNC) - log_scale_SBNC.sum(axis=(-2, -1)) + log_det_SB
    return TrajectoryLogProb(step_SB=jnp.where(trajectory.valid_SB > 0, step_SB, 0),
                             prior_B=prior_B, log_det_SB=log_det_SB, mean_SBNC=mean_SBNC,
                             log_scale_SBNC=log_scale_SBNC, z_SBNC=z_SBNC)


def standard_normal_log_prob(z: Array) -> Array:
  """log N(z; 0, I), summed over the last two axes, in nats."""
  return -0.5 * (z * z + math.log(2 * math.pi)).sum(axis=(-2, -1))


def build(config: Config) -> NTM:
  """The model a run's config describes."""
  dtype = jnp.dtype(config.model.dtype)
  param_dtype = jnp.promote_types(dtype, jnp.float32)
  return NTM(config.model, len(config.process.num_steps) > 1, dtype, param_dtype)
