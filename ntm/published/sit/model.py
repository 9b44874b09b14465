"""SiT (arXiv 2401.08740): a class-conditional velocity network over image latents.

SiT has data at 1: its path is s x_data + (1 - s) x_noise and its network gives
w(x, s) = d path / ds = x_data - x_noise. Ours has noise at 1, and with s = 1 - t

  x_t = (1 - t) x_data + t x_noise,   v(x, t) = dx_t/dt = x_noise - x_data = -w(x, 1 - t),

which is what the module takes and gives. Tokens are those of `ntm.nn.patchify`.
"""

import dataclasses
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ntm.nn import attention, embeddings, layers, rotary, stack
from ntm.nn.numerics import Numerics
from ntm.nn.partitioning import constrain
from ntm.typing import Array

_PERIOD = 10_000.0  # Slowest over fastest sinusoid, of time and of position.
_FREQUENCIES = 128


@dataclasses.dataclass(frozen=True)
class SiTConfig:
  """Shapes of a SiT.

  Attributes:
    layers: depth.
    width: D.
    num_heads: H.
    mlp_ratio: feed-forward width over D.
    grid_shape: tokens along rows and columns.
    patch_size: side of a patch.
    channels: of the latent image.
    num_classes: classes, without the null class.
    learn_sigma: the readout has a second half, which SiT trains no loss on.
  """

  layers: int
  width: int
  num_heads: int
  mlp_ratio: int = 4
  grid_shape: tuple[int, int] = (16, 16)
  patch_size: int = 2
  channels: int = 4
  num_classes: int = 1000
  learn_sigma: bool = True

  @property
  def num_tokens(self) -> int:
    """N."""
    return math.prod(self.grid_shape)

  @property
  def num_channels(self) -> int:
    """C of a token."""
    return self.patch_size ** 2 * self.channels


# Patches of 2 on 256 pixels; 4 and 8 by dataclasses.replace.
S = SiTConfig(layers=12, width=384, num_heads=6)
B = SiTConfig(layers=12, width=768, num_heads=12)
L = SiTConfig(layers=24, width=1024, num_heads=16)
XL = SiTConfig(layers=28, width=1152, num_heads=16)


class SiT(nn.Module):
  """Velocity and last hidden state of noisy tokens.

  The readout of learn_sigma is kept whole, so that a checkpoint can be written
  back as it was; only its first half is given out, and the other half has
  gradient zero. So has `position`: it is a table of sinusoids that no one
  trains, but a leaf, since another grid or another library makes other values.

  Attributes:
    config: shapes.
    numerics: types, rematerialisation.
  """

  config: SiTConfig
  numerics: Numerics = Numerics()

  @nn.compact
  def __call__(self, x_BNC: Array, t_B: Array, label_B: Array) -> tuple[Array, Array]:
    """v(x, t) for a class.

    Args:
      x_BNC: tokens at level t.
      t_B: level, 0 at data and 1 at noise, float32 or better.
      label_B: class index, `num_classes` for the null class.

    Returns:
      velocity_BNC, of x's type, and hidden_BND, what the last layer gives
      before the readout's norm.
    """
    config, width = self.config, self.config.width
    dtype, types = self.numerics.dtype, self.numerics.types
    position_ND = self.param(
        "position", nn.with_logical_partitioning(_init_position, (None, "embed")),
        config.grid_shape, width, self.numerics.param_dtype)
    h_BND = layers.dense(width, (None, "embed"), name="embed", **types)(x_BNC.astype(dtype))
    h_BND += jax.lax.stop_gradient(position_ND).astype(dtype)

    c_BD = layers.dense(width, (None, "embed"), name="time_in", **types)(
        time_features(1 - t_B).astype(dtype))
    c_BD = layers.dense(width, ("embed", None), name="time_out", **types)(nn.silu(c_BD))
    c_BD += embeddings.LabelEmbedding(config.num_classes, width, self.numerics, name="label")(
        label_B)
    c_B1D = c_BD[:, None]

    block = stack.over_depth(_Block, config.layers, (nn.broadcast,), self.numerics)
    h_BND, _ = block(config, self.numerics, name="blocks")(h_BND, c_B1D)
    modulation_B12D = layers.dense((2, width), ("embed", None, None), zero=True,
                                   name="modulation", **types)(nn.silu(c_B1D))
    out = _norm("norm", types)(h_BND)
    out = layers.modulate(out, modulation_B12D[..., 0, :], modulation_B12D[..., 1, :])
    # Of every pixel: its channels' velocities, then what learn_sigma adds.
    shape = (config.patch_size ** 2, 1 + config.learn_sigma, config.channels)
    out = layers.dense(shape, ("embed", None, None, None), zero=True, name="readout", **types)(out)
    return -out[..., 0, :].reshape(x_BNC.shape).astype(x_BNC.dtype), h_BND


class _Block(nn.Module):
  """One layer, its branches shifted, scaled and gated by c (adaLN-Zero)."""

  config: SiTConfig
  numerics: Numerics

  @nn.compact
  def __call__(self, h_BND, c_B1D):
    config, types = self.config, self.numerics.types
    modulation_B16D = layers.dense(
        (6, config.width), ("embed", None, None), zero=True, name="modulation", **types)(
            nn.silu(c_B1D))
    shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = jnp.moveaxis(modulation_B16D, -2, 0)
    h_BND = constrain(h_BND, "batch", None, None)
    branch_BND = layers.modulate(_norm("attention_norm", types)(h_BND), shift_a, scale_a)
    branch_BND, _ = attention.Attention(
        config.num_heads, config.num_heads, qk_norm=False, numerics=self.numerics,
        name="attention")(
            branch_BND, None)
    h_BND += layers.gate(branch_BND, gate_a)
    branch_BND = layers.modulate(_norm("mlp_norm", types)(h_BND), shift_m, scale_m)
    branch_BND = layers.Mlp(config.mlp_ratio, numerics=self.numerics, name="mlp")(branch_BND)
    return h_BND + layers.gate(branch_BND, gate_m), None


def time_features(s_B: Array) -> Array:
  """[cos, sin](f s), f spaced geometrically from 1 down towards 1 / 10^4: [B, 256].

  Args:
    s_B: SiT's own time, data at 1; float32 or better, which the result keeps.
  """
  frequencies = _PERIOD ** (-np.arange(_FREQUENCIES) / _FREQUENCIES)
  angles = s_B[:, None] * jnp.asarray(frequencies, s_B.dtype)
  return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)


def position_table(grid_shape: tuple[int, int], width: int) -> np.ndarray:
  """The fixed table [N, D], float64: [sin, cos] of the column, then of the row.

  Args:
    grid_shape: rows and columns; tokens are row-major.
    width: D, divisible by four.
  """
  frequencies = _PERIOD ** (-np.arange(width // 4) / (width // 4))
  row_N, column_N = rotary.grid_positions(grid_shape).T
  parts = [wave(place[:, None] * frequencies)
           for place in (column_N, row_N) for wave in (np.sin, np.cos)]
  return np.concatenate(parts, axis=1)


def _init_position(rng, grid_shape, width, dtype):
  del rng
  return jnp.asarray(position_table(grid_shape, width), dtype)


def _norm(name, types):
  # The variance as mean((x - mean)^2): the fast form cancels where the mean is large.
  return nn.LayerNorm(epsilon=1e-6, use_bias=False, use_scale=False, use_fast_variance=False,
                      name=name, **types)
