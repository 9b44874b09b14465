"""The dimension key, array aliases and the few structs shared by every package.

Array names end in the axes they have, in order:

  B  examples of a batch          N  tokens of one state
  K  states of a trajectory, T+1  C  channels of one token
  S  steps of a trajectory, T     D  width of a Transformer
  G  levels in one sequence       H  attention heads, E  width of a head
  F  features of one token
  M  positions of a sequence      L  layers

So `x_KBNC` is a batch of trajectories and `log_det_KB` one number per state.
Time runs from data (t = 0) to noise (t = 1): state k = 0 is the cleanest,
state k = T is noise, and step k goes from t_k down to t_{k-1}.
"""

import flax.struct
import jax

Array = jax.Array
PRNGKey = jax.Array


@flax.struct.dataclass
class Condition:
  """What a flow or network is given besides states, one entry per example; None is unused.

  Attributes:
    time_B: the level t of the state, float32; [K, B] or [B, G] for several levels.
    next_time_B: the cleaner level s that is predicted from t.
    num_steps_B: T of the trajectory; only where one model serves several T.
    label_B: class index, `num_classes` for the null class.
    text_BMW: features of a text, in place of a class.
    ids_BM: token ids of a text that the network embeds itself, in place of features, int32.
    mask_BM: with them, or with features of which some are padding's: True for tokens and False for
      padding.
    features_BNF: what the predictor reads off the noisier state for a conditional transporter;
      [K, B, N, F] for several levels.
  """

  time_B: Array | None = None
  next_time_B: Array | None = None
  num_steps_B: Array | None = None
  label_B: Array | None = None
  text_BMW: Array | None = None
  ids_BM: Array | None = None
  mask_BM: Array | None = None
  features_BNF: Array | None = None

  def at(self, time_B: Array, next_time_B: Array | None = None) -> "Condition":
    """The same class, text and T at another level."""
    return self.replace(time_B=time_B, next_time_B=next_time_B)


@flax.struct.dataclass
class Trajectory:
  """States of forward trajectories and what is known about them.

  Attributes:
    x_KBNC: the states, cleanest first.
    times_KB: their levels, ascending; 1 at and above the noise level.
    cond: class or text, and T if one model serves several; its times are not read.
    valid_SB: 1 where step k exists, 0 where it pads a shorter trajectory.
  """

  x_KBNC: Array
  times_KB: Array
  cond: Condition
  valid_SB: Array


@flax.struct.dataclass
class TrajectoryLogProb:
  """The exact log-likelihood of a batch of trajectories, in nats.

  Attributes:
    step_SB: log p(x_{k-1} | x_k, y), summed over the event axes; 0 for padding.
    prior_B: log N(x_T; 0, I), or 0 for trajectories cut off below the noise.
    log_det_SB: the transporter's share of step_SB, log |det df_T/dx|.
    mean_SBNC: mu_P of the predictor.
    log_scale_SBNC: log sigma_P of the predictor.
    z_SBNC: (u_{k-1} - mu_P) / sigma_P, standard normal if the model is right.
  """

  step_SB: Array
  prior_B: Array
  log_det_SB: Array
  mean_SBNC: Array
  log_scale_SBNC: Array
  z_SBNC: Array

  @property
  def total_B(self) -> Array:
    """log p(x_0, ..., x_T | y)."""
    return self.step_SB.sum(axis=0) + self.prior_B
