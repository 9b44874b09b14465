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
from ntm.nn import embeddings, layers, rotary, stack
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

  @nn.compact
  def __call__(self, u_SBNC: Array, t_SB: Array, s_SB: Array, label_B: Array | None,
               num_steps_B: Array | None, valid_SB: Array) -> tuple[Array, Array]:
    """Predicts u at level s from u at level t.

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
    net = _Network(self.config, self.multi_step, self.dtype, self.param_dtype, name="network")
    # Written to serve both modes: the network sees B sequences of G levels.
    if self.config.predictor.context == "markov":
      over_steps = nn.vmap(
          lambda net, u_BNC, t_B, s_B: net(u_BNC[:, None], t_B[:, None], s_B[:, None],
                                           label_B, num_steps_B, None),
          in_axes=0, out_axes=0, variable_axes={"params": None}, split_rngs={"params": False})
      mean, log_scale = over_steps(net, u_SBNC, t_SB, s_SB)
      return mean[:, :, 0], log_scale[:, :, 0]
    mean, log_scale = net(jnp.moveaxis(u_SBNC, 0, 1), t_SB.T, s_SB.T, label_B, num_steps_B,
                          history_mask(valid_SB.T, self.config.num_tokens))
    return jnp.moveaxis(mean, 1, 0), jnp.moveaxis(log_scale, 1, 0)


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


class _Network(nn.Module):
  """The Transformer over a sequence of G levels."""

  config: ModelConfig
  multi_step: bool
  dtype: jnp.dtype
  param_dtype: jnp.dtype

  @nn.compact
  def __call__(self, u_BGNC, t_BG, s_BG, label_B, num_steps_B, mask):
    config, predictor = self.config, self.config.predictor
    types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    width = predictor.width
    h_BGND = layers.dense(width, (None, "embed"), name="embed", **types)(
        u_BGNC.astype(self.dtype))
    if not predictor.reads_noise:
      init = nn.with_logical_partitioning(nn.initializers.normal(0.02), ("embed",))
      noise_D = self.param("noise", init, (width,), self.param_dtype).astype(self.dtype)
      h_BGND = jnp.where((t_BG >= 1)[:, :, None, None], noise_D, h_BGND)
    h_BGND = embeddings.PositionEmbedding(self.param_dtype, name="position")(
        h_BGND, config.num_tokens)

    c_BGD = embeddings.ScalarEmbedding(width, name="time", **types)(t_BG)
    c_BGD += embeddings.ScalarEmbedding(width, name="next_time", **types)(s_BG)
    if self.multi_step:
      c_BGD += embeddings.ScalarEmbedding(width, name="steps", **types)(
          1.0 / num_steps_B.astype(t_BG.dtype))[:, None]
    if config.num_classes:
      c_BGD += embeddings.LabelEmbedding(config.num_classes, width, name="label", **types)(
          label_B)[:, None]

    batch_size, num_levels = t_BG.shape
    positions = np.tile(rotary.grid_positions(config.grid_shape), (num_levels, 1))
    angles_ME = rotary.rotary_angles(positions, width // predictor.num_heads)
    h_BMD = stack.Stack(predictor, remat=config.remat, unroll=config.unroll, name="stack",
                           **types)(h_BGND.reshape(batch_size, -1, width), c_BGD, angles_ME, mask)
    h_BMD = nn.RMSNorm(use_scale=False, name="norm", **types)(h_BMD)
    modulation = layers.dense((2, width), ("embed", None, None), zero=True, name="modulation",
                              **types)(nn.silu(c_BGD))
    h_BMD = layers.modulate(h_BMD, modulation[..., 0, :], modulation[..., 1, :])
    raw = layers.dense((2, config.num_channels), ("embed", None, None), zero=True,
                       name="readout", **types)(h_BMD).astype(u_BGNC.dtype)
    raw = raw.reshape(u_BGNC.shape[:3] + (2, config.num_channels))
    return raw[..., 0, :], raw[..., 1, :]
