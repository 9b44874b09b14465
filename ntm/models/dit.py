"""The non-causal Transformer of predictor, velocity model and denoiser."""

import math
from collections.abc import Mapping

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from ntm.config import TransformerConfig
from ntm.models.text_encoder import TextEncoder
from ntm.nn import embeddings, layers, rotary, stack
from ntm.nn.numerics import Numerics
from ntm.typing import Array, Condition


class DiT(nn.Module):
  """Tokens of G levels to arrays per token, zero at initialisation but for features.

  Attributes:
    transformer: depth, width, heads.
    grid_shape: tokens of one level along every spatial axis; N is their product.
    outputs: shapes of what is read out for every token, by name; "features" do not start at
      zero.
    num_classes: classes it is conditioned on; 0 does not read the class.
    text_encoder: sizes of the layers that embed token ids; None for text features, or no text.
    vocab_size: of the token ids.
    noise_token: a learned token replaces those of levels at t = 1.
    zero_init_conditions: names of conditions ('next_time', 'steps') without effect at
      first, for a network whose other weights were trained without them.
    numerics: types, rematerialisation.
  """

  transformer: TransformerConfig
  grid_shape: tuple[int, ...]
  outputs: Mapping[str, tuple[int, ...]]
  num_classes: int = 0
  text_encoder: TransformerConfig | None = None
  vocab_size: int = 0
  noise_token: bool = False
  zero_init_conditions: tuple[str, ...] = ()
  numerics: Numerics = Numerics()

  @nn.compact
  def __call__(self, u_BGNC: Array, cond: Condition, mask: Array | None = None,
               caches: list | None = None, index: Array | None = None):
    """Runs the network on whole sequences, or on one more level after those in the caches.

    Args:
      u_BGNC: tokens of every level.
      cond: its times are [B, G]. Text features, or those of token ids, join the sequence, of one
        level only; where they have a mask, padding is not attended to.
      mask: boolean, True = attend, [B or 1, 1, G N, G N].
      caches: keys and values of the levels before, one per layer.
      index: tokens in the caches.

    Returns:
      {name: [B, G, N, *shape]}, in u's type; with caches, (that, the caches).
    """
    width, numerics, types = self.transformer.width, self.numerics, self.numerics.types
    h_BGND = layers.dense(width, (None, "embed"), name="embed", **types)(
        u_BGNC.astype(numerics.dtype))
    if self.noise_token:
      init = nn.with_logical_partitioning(nn.initializers.normal(0.02), ("embed",))
      noise_D = self.param("noise", init, (width,), numerics.param_dtype).astype(numerics.dtype)
      h_BGND = jnp.where((cond.time_B >= 1)[:, :, None, None], noise_D, h_BGND)
    h_BGND = embeddings.PositionEmbedding(numerics, name="position")(
        h_BGND, math.prod(self.grid_shape))

    c_BGD = sum(
        embeddings.ScalarEmbedding(width, name in self.zero_init_conditions, numerics, name=name)(
            value) for name, value in embeddings.condition_scalars(cond).items())
    if self.num_classes:
      c_BGD += embeddings.LabelEmbedding(self.num_classes, width, numerics, name="label")(
          cond.label_B)[:, None]

    batch_size, num_levels = u_BGNC.shape[:2]
    positions = np.tile(rotary.grid_positions(self.grid_shape), (num_levels, 1))
    angles_ME = rotary.rotary_angles(positions, width // self.transformer.num_heads)
    h_BMD = h_BGND.reshape(batch_size, -1, width)
    text_BMD = self._text(cond)
    num_texts = 0 if text_BMD is None else text_BMD.shape[1]
    if num_texts:
      h_BMD = jnp.concatenate([text_BMD, h_BMD], axis=1)
      angles_ME = np.concatenate([np.zeros((num_texts, angles_ME.shape[1])), angles_ME])
    if num_texts and cond.mask_BM is not None:
      seen_BM = jnp.pad(cond.mask_BM, ((0, 0), (0, h_BMD.shape[1] - num_texts)),
                        constant_values=True)
      mask = jnp.broadcast_to(seen_BM[:, None, None], (batch_size, 1, *2 * h_BMD.shape[1:2]))
    net = stack.Stack(self.transformer, numerics=numerics, name="stack")
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
      a = layers.dense(shape, ("embed",) + (None,) * len(shape), zero=name != "features",
                       name=name, **types)(h_BMD)
      out[name] = a.astype(u_BGNC.dtype).reshape(u_BGNC.shape[:3] + shape)
    return out if caches is None else (out, caches)

  def _text(self, cond):
    """text_BMD of features or token ids, or None."""
    width = self.transformer.width
    if self.text_encoder is not None:
      return TextEncoder(self.text_encoder, self.vocab_size, self.numerics, name="text_encoder")(
          cond.ids_BM, cond.mask_BM)
    if cond.text_BMW is None:
      return None
    return layers.dense(width, (None, "embed"), name="text", **self.numerics.types)(
        cond.text_BMW.astype(self.numerics.dtype))

  @nn.nowrap
  def init_caches(self, batch_size: int, num_levels: int) -> list:
    """Caches of no level yet, for this many."""
    length = num_levels * math.prod(self.grid_shape)
    return stack.init_caches(self.transformer, batch_size, length, self.numerics.dtype)
