"""The sizes of a FLUX.2 Transformer, its rotary positions and its two kinds of block.

There are no biases. Norms of the streams are without gain and are followed by
shift, scale and gate, which all blocks of a kind share.
"""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from ntm.nn import attention, kernels, layers
from ntm.nn.numerics import Numerics
from ntm.nn.partitioning import constrain
from ntm.typing import Array


@dataclasses.dataclass(frozen=True)
class Flux2Config:
  """Sizes of a FLUX.2 Transformer.

  Attributes:
    width: D.
    num_heads: H, a divisor of D.
    double_layers: blocks with parameters of their own for text and for image.
    single_layers: blocks on the joint sequence, after those.
    text_width: W, of the text features.
    in_channels: C of the tokens.
    out_channels: C of the velocity.
    axes: channels of a head that turn with each axis of the position, even,
      D / H in all.
    theta: pair i of an axis of n channels turns by theta^(-2i/n) a position.
    mlp_ratio: feed-forward width over D.
    time_width: sinusoids of the time, even.
    eps: of all norms.

  Raises:
    ValueError: heads that do not divide the width, or axes that do not fill a head.
  """

  width: int
  num_heads: int
  double_layers: int
  single_layers: int
  text_width: int
  in_channels: int = 128
  out_channels: int = 128
  axes: tuple[int, ...] = (32, 32, 32, 32)
  theta: float = 2000.0
  mlp_ratio: float = 3.0
  time_width: int = 256
  eps: float = 1e-6

  def __post_init__(self):
    if self.width % self.num_heads:
      raise ValueError(f"{self.num_heads} heads do not divide the width {self.width}.")
    if sum(self.axes) != self.head_width or any(n % 2 for n in self.axes):
      raise ValueError(f"axes {self.axes} must be even and add up to the head width "
                       f"{self.head_width}.")

  @property
  def head_width(self) -> int:
    """E = D / H."""
    return self.width // self.num_heads

  @property
  def mlp_width(self) -> int:
    """Width of the feed-forward layer, once gated."""
    return round(self.width * self.mlp_ratio)


def rotary_angles(ids: np.ndarray, axes: tuple[int, ...], theta: float) -> np.ndarray:
  """Angles of every pair of channels in float64, [M, E/2].

  Args:
    ids: positions, [M, len(axes)].
    axes: channels of a head for every axis.
    theta: as in Flux2Config.
  """
  return np.concatenate([ids[:, axis, None] * theta ** (-np.arange(0, n, 2) / n)
                         for axis, n in enumerate(axes)], axis=-1)


def rotate(x_BMHE: Array, cos_ME: Array, sin_ME: Array) -> Array:
  """Turns the pairs (x_2i, x_2i+1), in float32 or better; keeps norms and dtype.

  Unlike `ntm.nn.rotary`, partners are neighbours.

  Args:
    x_BMHE: queries or keys.
    cos_ME: of the angles, [M, E/2].
    sin_ME: of the angles, [M, E/2].
  """
  precise = jnp.promote_types(x_BMHE.dtype, jnp.float32)
  cos, sin = (jnp.asarray(a, precise)[:, None, :] for a in (cos_ME, sin_ME))
  pairs = x_BMHE.astype(precise).reshape(*x_BMHE.shape[:-1], -1, 2)
  first, second = pairs[..., 0], pairs[..., 1]
  turned = jnp.stack([first * cos - second * sin, second * cos + first * sin], axis=-1)
  return turned.reshape(x_BMHE.shape).astype(x_BMHE.dtype)


def normalise(x_BMD: Array, eps: float) -> Array:
  """(x - mean) / sqrt(var + eps) of every token, in float32 or better; keeps the dtype."""
  return nn.LayerNorm(epsilon=eps, use_bias=False, use_scale=False, use_fast_variance=False,
                      dtype=x_BMD.dtype)(x_BMD)


class Heads(nn.Module):
  """Query, key and value heads of one stream, query and key RMS-normalised."""

  config: Flux2Config
  numerics: Numerics = Numerics()

  @nn.compact
  def __call__(self, x_BMD: Array) -> tuple[Array, Array, Array]:
    """[B, M, D] → three times [B, M, H, E]."""
    types = self.numerics.types

    def project(name):
      a_BMHE = layers.dense((self.config.num_heads, self.config.head_width),
                            ("embed", "heads", "head_width"), use_bias=False, name=name,
                            **types)(x_BMD)
      return constrain(a_BMHE, "batch", None, "heads", None)

    def norm(name, x_BMHE):
      return layers.rms_norm("head_width", epsilon=self.config.eps, name=name, **types)(x_BMHE)

    return norm("query_norm", project("query")), norm("key_norm", project("key")), project("value")


class DoubleBlock(nn.Module):
  """Text and image attend to each other; all else is each stream's own.

  For both streams, with shift, scale and gate (a, b, g) of their modulation,
    x ← x + g_1 Attention((1 + b_1) LN(x) + a_1)
    x ← x + g_2 SwiGLU((1 + b_2) LN(x) + a_2).
  """

  config: Flux2Config
  numerics: Numerics = Numerics()

  @nn.compact
  def __call__(self, streams: tuple[Array, Array], modulations: tuple[Array, Array],
               rotation: tuple[Array, Array]):
    """Runs the block.

    Args:
      streams: (text [B, M, D], image [B, N, D]).
      modulations: [B, 1, 6, D] of text and of image.
      rotation: (cos, sin) of text then image, [M + N, E/2].

    Returns:
      (the streams, None), as nn.scan wants it.
    """
    types = self.numerics.types
    width, names = self.config.width, ("text", "image")
    modulations = [jnp.moveaxis(modulation, -2, 0) for modulation in modulations]
    streams = [constrain(x_BMD, "batch", None, None) for x_BMD in streams]

    heads = [Heads(self.config, self.numerics, name=f"{name}_heads")(
        layers.modulate(normalise(x_BMD, self.config.eps), shift, scale))
             for name, x_BMD, (shift, scale, *_) in zip(names, streams, modulations)]
    attended = _attend(*(jnp.concatenate(parts, axis=1) for parts in zip(*heads)),
                       rotation, self.numerics.attention_kernel)
    attended = jnp.split(attended, [streams[0].shape[1]], axis=1)

    out = []
    for name, x_BMD, h_BMHE, modulation in zip(names, streams, attended, modulations):
      _, _, gate_a, shift_m, scale_m, gate_m = modulation
      h_BMD = layers.dense(width, ("heads", "head_width", "embed"), axis=(-2, -1),
                           use_bias=False, name=f"{name}_out", **types)(h_BMHE)
      x_BMD = x_BMD + layers.gate(h_BMD, gate_a)
      h_BMD = layers.modulate(normalise(x_BMD, self.config.eps), shift_m, scale_m)
      h_BMF = _gated(h_BMD, self.config.mlp_width, f"{name}_up", types)
      h_BMD = layers.dense(width, ("mlp", "embed"), use_bias=False, name=f"{name}_down",
                           **types)(h_BMF)
      out.append(x_BMD + layers.gate(h_BMD, gate_m))
    return tuple(out), None


class SingleBlock(nn.Module):
  """Attention and feed-forward side by side on the joint sequence.

    h = (1 + b) LN(x) + a
    x ← x + g [Attention(h), SwiGLU(h)] W.
  """

  config: Flux2Config
  numerics: Numerics = Numerics()

  @nn.compact
  def __call__(self, x_BMD: Array, modulation_B13D: Array, rotation: tuple[Array, Array]):
    """Runs the block.

    Args:
      x_BMD: text then image.
      modulation_B13D: shift, scale and gate.
      rotation: (cos, sin) of every token, [M, E/2].

    Returns:
      (x_BMD, None), as nn.scan wants it.
    """
    types = self.numerics.types
    shift, scale, gate = jnp.moveaxis(modulation_B13D, -2, 0)
    x_BMD = constrain(x_BMD, "batch", None, None)
    h_BMD = layers.modulate(normalise(x_BMD, self.config.eps), shift, scale)
    attended = _attend(*Heads(self.config, self.numerics, name="heads")(h_BMD), rotation,
                       self.numerics.attention_kernel)
    gated = _gated(h_BMD, self.config.mlp_width, "up", types)
    # One product for both, as in the checkpoints: the sum is then rounded once.
    h = jnp.concatenate([attended.reshape(x_BMD.shape), gated], axis=-1)
    h_BMD = layers.dense(self.config.width, ("mlp", "embed"), use_bias=False, name="out",
                         **types)(h)
    return x_BMD + layers.gate(h_BMD, gate), None


def _attend(query_BMHE: Array, key_BMHE: Array, value_BMHE: Array,
            rotation: tuple[Array, Array], kernel: str) -> Array:
  """softmax(q k' / sqrt(E)) v over the whole sequence, q and k rotated."""
  arrays = rotate(query_BMHE, *rotation), rotate(key_BMHE, *rotation), value_BMHE
  out_BMHE = kernels.attend(*arrays, causal=False, when=kernel)
  if out_BMHE is None:
    out_BMHE = attention.dot_product_attention(*arrays)
  return checkpoint_name(out_BMHE, "attention")


def _gated(x_BMD: Array, mlp_width: int, name: str, types) -> Array:
  """silu(x W_0) * (x W_1), the first half of a SwiGLU: [B, M, D] → [B, M, mlp_width]."""
  h = layers.dense((2, mlp_width), ("embed", None, "mlp"), use_bias=False, name=name, **types)(
      x_BMD)
  return constrain(nn.silu(h[..., 0, :]) * h[..., 1, :], "batch", None, "mlp")
