"""The Transformer of FLUX.2 [klein], from latent tokens and text features to a velocity.

Conventions of the published checkpoints:

  time      t = 0 is data, t = 1 noise, x_t = (1 - t) x_0 + t noise
  velocity  dx_t/dt = noise - x_0
  tokens    patches of 2 x 2 of the 32 latent channels, latent channel slowest,
            then row and column of the patch
  text      no mask: padding is attended to
  position  (time, row, column, place in the text); images are at the last 0,
            text at the first three 0
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from ntm.nn import layers, rotary, stack
from ntm.nn.numerics import Numerics
from ntm.published.flux2 import blocks as flux2_blocks
from ntm.published.flux2.blocks import Flux2Config
from ntm.typing import Array

KLEIN_4B = Flux2Config(width=3072, num_heads=24, double_layers=5, single_layers=20,
                       text_width=7680)
KLEIN_9B = Flux2Config(width=4096, num_heads=32, double_layers=8, single_layers=24,
                       text_width=12288)


def image_ids(grid_shape: tuple[int, int], time: int = 0) -> np.ndarray:
  """Positions (time, row, column, 0) of a grid of tokens in row-major order, [N, 4].

  Args:
    grid_shape: rows and columns.
    time: 0 for the image that is made; 10, 20, ... for reference images, whose
      tokens follow it in the sequence.
  """
  ids = np.zeros((grid_shape[0] * grid_shape[1], 4), np.int64)
  ids[:, 0] = time
  ids[:, 1:3] = rotary.grid_positions(grid_shape)
  return ids


def text_ids(length: int) -> np.ndarray:
  """Positions (0, 0, 0, m) of text tokens, [M, 4]."""
  ids = np.zeros((length, 4), np.int64)
  ids[:, 3] = np.arange(length)
  return ids


def time_sinusoids(t, width: int) -> Array:
  """[cos, sin](1000 t f), f spaced geometrically from 1 down to, not including, 10^-4.

  In float32 or float64 independent of the compute type: a bfloat16 1000 t would not
  tell neighbouring levels apart.

  Args:
    t: any shape, in [0, 1].
    width: of the result, even.

  Returns:
    [..., width].
  """
  t = jnp.asarray(t, jnp.promote_types(t.dtype, jnp.float32))
  half = width // 2
  frequencies = 10_000.0 ** (-np.arange(half) / half)
  angles = (1000 * t)[..., None] * jnp.asarray(frequencies, t.dtype)
  return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)


class Flux2(nn.Module):
  """Double-stream blocks, then single-stream blocks, each kind one scan over depth.

  Attributes:
    config: sizes.
    numerics: types, rematerialisation; norms, softmax, rotation and sinusoids are in
      float32 at least.
  """

  config: Flux2Config
  numerics: Numerics = Numerics()

  @nn.compact
  def __call__(self, x_BNC: Array, t_B: Array, text_BMW: Array, image_ids_NA: np.ndarray,
               text_ids_MA: np.ndarray) -> tuple[Array, Array]:
    """The velocity at x_t.

    Args:
      x_BNC: image tokens.
      t_B: level, 1 for noise.
      text_BMW: text features.
      image_ids_NA: positions of the image tokens, one number per axis, static; see `image_ids`.
      text_ids_MA: positions of the text tokens, static; see `text_ids`.

    Returns:
      (velocity [B, N, out_channels] in x's type, the hidden state [B, N, D] it
      is a linear readout of).

    Raises:
      ValueError: positions that do not match the tokens.
    """
    config, width = self.config, self.config.width
    dtype, types = self.numerics.dtype, self.numerics.types
    ids = np.concatenate([_checked("text", text_ids_MA, text_BMW, config),
                          _checked("image", image_ids_NA, x_BNC, config)])
    angles_ME = flux2_blocks.rotary_angles(ids, config.axes, config.theta)
    rotation = (np.cos(angles_ME), np.sin(angles_ME))

    def dense(features, axes, name, **kwargs):
      return layers.dense(features, axes, use_bias=False, name=name, **types, **kwargs)

    h = dense(width, (None, "embed"), "time_in")(
        time_sinusoids(t_B, config.time_width).astype(dtype))
    c_B1D = nn.silu(dense(width, ("embed", None), "time_out")(nn.silu(h)))[:, None]

    def modulation(parts, name):
      return dense((parts, width), ("embed", None, None), name, zero=True)(c_B1D)

    text_BMD = dense(width, (None, "embed"), "text_embed")(text_BMW.astype(dtype))
    image_BND = dense(width, (None, "embed"), "image_embed")(x_BNC.astype(dtype))
    double = self._scan(flux2_blocks.DoubleBlock, config.double_layers, "double")
    modulations = (modulation(6, "text_modulation"), modulation(6, "image_modulation"))
    (text_BMD, image_BND), _ = double((text_BMD, image_BND), modulations, rotation)
    single = self._scan(flux2_blocks.SingleBlock, config.single_layers, "single")
    joint_BMD, _ = single(jnp.concatenate([text_BMD, image_BND], axis=1),
                          modulation(3, "single_modulation"), rotation)

    shift_B1D, scale_B1D = jnp.moveaxis(modulation(2, "modulation"), -2, 0)
    hidden_BND = layers.modulate(
        flux2_blocks.normalise(joint_BMD[:, text_BMD.shape[1]:], config.eps), shift_B1D, scale_B1D)
    velocity_BNC = dense(config.out_channels, ("embed", None), "readout", zero=True)(hidden_BND)
    return velocity_BNC.astype(x_BNC.dtype), hidden_BND

  def _scan(self, block, length: int, name: str) -> nn.Module:
    """`length` blocks as one module, parameters stacked along a first axis."""
    scan = stack.over_depth(block, length, (nn.broadcast, nn.broadcast), self.numerics)
    return scan(self.config, self.numerics, name=name)


def _checked(what: str, ids, tokens: Array, config: Flux2Config) -> np.ndarray:
  """The positions, if there is one per token."""
  ids = np.asarray(ids)
  if ids.shape != (tokens.shape[1], len(config.axes)):
    raise ValueError(f"{what} ids {list(ids.shape)} must be [{tokens.shape[1]}, "
                     f"{len(config.axes)}]: one position per token.")
  return ids
