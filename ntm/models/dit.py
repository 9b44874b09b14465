"""The non-causal Transformer behind predictor, velocity model and denoiser."""

from collections.abc import Mapping

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from ntm.config import ModelConfig, TransformerConfig
from ntm.nn import embeddings, layers, rotary, stack
from ntm.typing import Array


class Backbone(nn.Module):
  """Tokens of G levels to arrays a token, zero at initialisation.

  Attributes:
    config: of the model: grid, classes, remat.
    transformer: depth and width.
    outputs: shapes of what is read out for every token, by name.
    noise_token: a learned token replaces those of levels at t = 1.
    silent: scalars without effect at initialisation, for a network whose other
      weights were trained without them.
    dtype: compute type.
    param_dtype: parameter type.
  """

  config: ModelConfig
  transformer: TransformerConfig
  outputs: Mapping[str, tuple[int, ...]]
  noise_token: bool = False
  silent: tuple[str, ...] = ()
  dtype: jnp.dtype = jnp.float32
  param_dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, u_BGNC: Array, scalars: Mapping[str, Array], label_B: Array | None,
               mask: Array | None = None, caches: list | None = None,
               index: Array | None = None):
    """Runs the network on whole sequences, or on one more level after those in the caches.

    Args:
      u_BGNC: tokens of every level.
      scalars: numbers in [0, 1] it is conditioned on, by name, [B, G] or [B, 1];
        'time' is the level.
      label_B: class index, `num_classes` for null; text features [B, M, W], which
        join the sequence of one level; None if unconditional.
      mask: boolean, True = attend, [B or 1, 1, G N, G N].
      caches: keys and values of the levels before, one a layer.
      index: tokens in the caches.

    Returns:
      {name: [B, G, N, *shape]}, in u's type; with caches, (that, the caches).
    """
    config = self.config
    types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    width = self.transformer.width
    h_BGND = layers.dense(width, (None, "embed"), name="embed", **types)(
        u_BGNC.astype(self.dtype))
    if self.noise_token:
      init = nn.with_logical_partitioning(nn.initializers.normal(0.02), ("embed",))
      noise_D = self.param("noise", init, (width,), self.param_dtype).astype(self.dtype)
      h_BGND = jnp.where((scalars["time"] >= 1)[:, :, None, None], noise_D, h_BGND)
    h_BGND = embeddings.PositionEmbedding(self.param_dtype, name="position")(
        h_BGND, config.num_tokens)

    c_BGD = sum(embeddings.ScalarEmbedding(width, name in self.silent, name=name, **types)(value)
                for name, value in scalars.items())
    if config.num_classes:
      c_BGD += embeddings.LabelEmbedding(config.num_classes, width, name="label", **types)(
          label_B)[:, None]

    batch_size, num_levels = u_BGNC.shape[:2]
    positions = np.tile(rotary.grid_positions(config.grid_shape), (num_levels, 1))
    angles_ME = rotary.rotary_angles(positions, width // self.transformer.num_heads)
    h_BMD = h_BGND.reshape(batch_size, -1, width)
    num_texts = config.backbone.text_tokens
    if num_texts:
      text_BMD = layers.dense(width, (None, "embed"), name="text", **types)(
          label_B.astype(self.dtype))
      h_BMD = jnp.concatenate([text_BMD, h_BMD], axis=1)
      angles_ME = np.concatenate([np.zeros((num_texts, angles_ME.shape[1])), angles_ME])
    net = stack.Stack(self.transformer, remat=config.remat, unroll=config.unroll, name="stack",
                      **types)
    if caches is None:
      h_BMD = net(h_BMD, c_BGD, angles_ME, mask)
    else:
      h_BMD, caches = net.decode(net.decoding_weights(c_BGD), h_BMD, angles_ME, caches, index)
    h_BMD = nn.RMSNorm(use_scale=False, name="norm", **types)(h_BMD[:, num_texts:])
    modulation = layers.dense((2, width), ("embed", None, None), zero=True, name="modulation",
                              **types)(nn.silu(c_BGD))
    h_BMD = layers.modulate(h_BMD, modulation[..., 0, :], modulation[..., 1, :])
    out = {}
    for name, shape in self.outputs.items():
      a = layers.dense(shape, ("embed",) + (None,) * len(shape), zero=True, name=name,
                       **types)(h_BMD)
      out[name] = a.astype(u_BGNC.dtype).reshape(u_BGNC.shape[:3] + shape)
    return out if caches is None else (out, caches)
