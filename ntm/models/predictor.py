"""The predictor f_P: a deep Transformer giving a diagonal Gaussian in u-space.

  p(u_{k-1} | u_k, ...) = N(mu_P, sigma_P^2),  (mu_P, log sigma_P) = f_P(u_k, t_k, t_{k-1}, y)

for all steps of a trajectory in one pass. Two context modes:
- markov: step k reads u_k; levels are vmapped.
- history: step k reads u_k, ..., u_T; the levels form one sequence with full
  attention inside a level and none towards cleaner levels, which would leak
  the target.

The readout starts at zero: mu_P = 0 and sigma_P = 1 at initialisation.
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from ntm.config import ModelConfig
from ntm.models.backbone import Backbone
from ntm.nn import stack
from ntm.typing import Array


class Predictor(nn.Module):
  """(mu_P, log sigma_P) of every step of a trajectory.

  Attributes:
    config: of the model.
    multi_step: also condition on the number of steps T.
    dtype: compute type.
    param_dtype: parameter type.
  """

  config: ModelConfig
  multi_step: bool = False
  dtype: jnp.dtype = jnp.float32
  param_dtype: jnp.dtype = jnp.float32

  def setup(self):
    """Makes the network."""
    config = self.config
    self.network = Backbone(config, config.predictor, (2, config.num_channels),
                            noise_token=not config.predictor.reads_noise, dtype=self.dtype,
                            param_dtype=self.param_dtype)

  def __call__(self, u_SBNC: Array, t_SB: Array, s_SB: Array, label_B: Array | None,
               num_steps_B: Array | None, valid_SB: Array) -> tuple[Array, Array]:
    """Predicts u at level s from u at level t, all steps at once.

    Args:
      u_SBNC: the noisier state of every step, u_1 .. u_T.
      t_SB: its level.
      s_SB: the level predicted.
      label_B: class index, `num_classes` for null; None if unconditional.
      num_steps_B: T of every example, or None.
      valid_SB: 0 where a step is padding; history does not attend to it.

    Returns:
      mean_SBNC and log_scale_SBNC, in u's type.
    """
    # The network sees B sequences of G levels; a markov step is a sequence of one.
    if self.config.predictor.context == "markov":
      over_steps = nn.vmap(
          lambda predictor, u_BNC, t_B, s_B: predictor.network(
              u_BNC[:, None], predictor._scalars(t_B[:, None], s_B[:, None], num_steps_B),
              label_B)[:, 0],
          in_axes=0, out_axes=0, variable_axes={"params": None}, split_rngs={"params": False})
      raw = over_steps(self, u_SBNC, t_SB, s_SB)
    else:
      raw_BS = self.network(
          jnp.moveaxis(u_SBNC, 0, 1), self._scalars(t_SB.T, s_SB.T, num_steps_B), label_B,
          history_mask(valid_SB.T, self.config.num_tokens))
      raw = jnp.moveaxis(raw_BS, 1, 0)
    return raw[..., 0, :], raw[..., 1, :]

  def step(self, u_BNC: Array, t_B: Array, s_B: Array, label_B: Array | None,
           num_steps_B: Array | None, caches: list | None, index: Array):
    """One step of sampling, the noisiest first.

    Args:
      u_BNC: the state at level t.
      t_B: its level.
      s_B: the level predicted.
      label_B: as above.
      num_steps_B: as above.
      caches: of `init_caches` or the step before; None in markov mode.
      index: steps done before this one.

    Returns:
      (mean_BNC, log_scale_BNC, caches).
    """
    scalars = self._scalars(t_B[:, None], s_B[:, None], num_steps_B)
    if caches is None:
      raw = self.network(u_BNC[:, None], scalars, label_B)
    else:
      raw, caches = self.network(u_BNC[:, None], scalars, label_B, caches=caches,
                                 index=index * self.config.num_tokens)
    return raw[:, 0, :, 0], raw[:, 0, :, 1], caches

  @nn.nowrap
  def init_caches(self, batch_size: int, num_steps: int) -> list | None:
    """Keys and values of no level yet; None in markov mode, which looks at one."""
    predictor = self.config.predictor
    if predictor.context == "markov":
      return None
    return stack.init_caches(predictor, batch_size, num_steps * self.config.num_tokens, self.dtype)

  def _scalars(self, t_BG, s_BG, num_steps_B):
    scalars = {"time": t_BG, "next_time": s_BG}
    if self.multi_step:
      scalars["steps"] = (1.0 / num_steps_B.astype(t_BG.dtype))[:, None]
    return scalars


def history_mask(valid_BS: Array, num_tokens: int) -> Array:
  """Which tokens may be read: same level or noisier ones that exist.

  Args:
    valid_BS: 1 where the level exists.
    num_tokens: N of one level.

  Returns:
    boolean [B, 1, S N, S N], queries before keys.
  """
  levels = np.arange(valid_BS.shape[1])
  noisier_SS = levels[None, :] > levels[:, None]
  allowed_BSS = (noisier_SS[None] & (valid_BS > 0)[:, None, :]) | np.eye(len(levels), dtype=bool)
  allowed = jnp.repeat(jnp.repeat(allowed_BSS, num_tokens, axis=1), num_tokens, axis=2)
  return allowed[:, None]
