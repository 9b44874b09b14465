"""The NTM density: the exact log-likelihood of a trajectory.

One step, by change of variables [3.3]:

  log p(x_s | x_t, y) = log N(f_T(x_s, s); mu_P, sigma_P^2) + log |det df_T(x_s)/dx_s|,
  (mu_P, sigma_P) = f_P(u_t, t, s, y),  u_t = f_T(x_t, t),

and over a trajectory log p(x_T) + sum_k log p(x_{k-1} | x_k, y), with x_T ~ N(0, I).
With a conditional transporter, f = f_T(.; s, h_t) reads features h_t of the noisier
state, so that every step is a conditional flow:

  log p(x_s | x_t, y) = log N(f(x_s); mu_P, sigma_P^2) + log |det df(x_s)/dx_s|,
  (mu_P, sigma_P, h_t) = f_P(x_t, t, s, y).

The levels then share no u-space, so the predictor reads x_t itself.
All terms in nats, summed over the event axes, constants included.
"""

import math

import flax.linen as nn
import jax
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

  @property
  def conditional(self) -> bool:
    """Whether the transporter reads features of the noisier state."""
    return self.predictor.num_features > 0

  @nn.nowrap
  def condition(self, cond: Condition, num_steps: int, batch_size: int) -> Condition:
    """The class or text of trajectories together with their T, if the model reads it."""
    num_steps_B = jnp.full((batch_size,), num_steps) if self.reads_num_steps else None
    return cond.replace(num_steps_B=num_steps_B)

  def transport(self, x_KBNC: Array, cond: Condition) -> tuple[Array, Array]:
    """f_T at every level: (u_KBNC, log_det_KB); the identity where t = 1.

    Args:
      x_KBNC: states.
      cond: its times are [K, B], and the features of a conditional transporter
        [K, B, N, F].
    """
    self._check_features(cond)
    return forward_over_levels(self.transporter, x_KBNC, cond)

  def transport_inverse(self, u_KBNC: Array, cond: Condition) -> tuple[Array, Array]:
    """f_T^-1 at every level: (x_KBNC, log_det_KB); arguments as `transport`."""
    self._check_features(cond)
    return inverse_over_levels(self.transporter, u_KBNC, cond)

  def predictor_input(self, x_KBNC: Array, cond: Condition) -> Array:
    """What the predictor reads: u_k = f_T(x_k, t_k), or x_k itself under a conditional f_T."""
    return x_KBNC if self.conditional else self.transport(x_KBNC, cond)[0]

  def denoiser_input(self, trajectory: Trajectory) -> tuple[Array, Array | None]:
    """u_BNC of the cleanest states, and the features_BNF that a conditional f_T made it with."""
    x_KBNC, times_KB, cond = trajectory.x_KBNC, trajectory.times_KB, trajectory.cond
    features_SBNF = None
    if self.conditional:
      # The last step alone, unless it reads the ones before.
      steps = 1 if self.predictor.context == "markov" else len(times_KB) - 1
      features_SBNF = self.predict(
          x_KBNC[1:steps + 1], cond.at(times_KB[1:steps + 1], times_KB[:steps]),
          trajectory.valid_SB[:steps])[2][:1]
    u_KBNC, _ = self.transport(x_KBNC[:1],
                               cond.at(times_KB[:1]).replace(features_BNF=features_SBNF))
    return u_KBNC[0], jax.tree.map(lambda a: a[0], features_SBNF)

  def predict(self, u_SBNC: Array, cond: Condition, valid_SB: Array | None = None
              ) -> tuple[Array, Array, Array | None]:
    """(mu_P, log sigma_P, features or None) of every step: see `Predictor`."""
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
    predict = lambda noisier_SBNC: self.predict(
        noisier_SBNC, cond.at(times_KB[1:], times_KB[:-1]), trajectory.valid_SB)
    if self.conditional:
      mean_SBNC, log_scale_SBNC, features_SBNF = predict(x_KBNC[1:])
      u_SBNC, log_det_SB = self.transport(
          x_KBNC[:-1], cond.at(times_KB[:-1]).replace(features_BNF=features_SBNF))
    elif ends_at_noise:
      u_SBNC, log_det_SB = self.transport(x_KBNC[:-1], cond.at(times_KB[:-1]))
      mean_SBNC, log_scale_SBNC, _ = predict(jnp.concatenate([u_SBNC[1:], x_KBNC[-1:]]))
    else:
      u_KBNC, log_det_KB = self.transport(x_KBNC, cond.at(times_KB))
      u_SBNC, log_det_SB = u_KBNC[:-1], log_det_KB[:-1]
      mean_SBNC, log_scale_SBNC, _ = predict(u_KBNC[1:])
    prior_B = (standard_normal_log_prob(x_KBNC[-1]) if ends_at_noise
               else jnp.zeros_like(log_det_SB[0]))
    z_SBNC = (u_SBNC - mean_SBNC) * jnp.exp(-log_scale_SBNC)
    step_SB = standard_normal_log_prob(z_SBNC) - log_scale_SBNC.sum(axis=(-2, -1)) + log_det_SB
    return TrajectoryLogProb(step_SB=jnp.where(trajectory.valid_SB > 0, step_SB, 0),
                             prior_B=prior_B, log_det_SB=log_det_SB, mean_SBNC=mean_SBNC,
                             log_scale_SBNC=log_scale_SBNC, z_SBNC=z_SBNC)

  def _check_features(self, cond):
    """Raises ValueError unless features are given to a conditional transporter alone."""
    if self.conditional != (cond.features_BNF is not None):
      raise ValueError(
          f"cond.features_BNF is {'missing' if self.conditional else 'given'}, but "
          f"model.transporter.features is {self.predictor.num_features}; pass what `predict` "
          "returns for the noisier states of a conditional transporter, and None otherwise.")


def standard_normal_log_prob(z: Array) -> Array:
  """log N(z; 0, I), summed over the last two axes, in nats."""
  return -0.5 * (z * z + math.log(2 * math.pi)).sum(axis=(-2, -1))
