"""Images, audio and video to tokens and back, for one to three spatial axes."""

import dataclasses
import math

from ntm.typing import Array


@dataclasses.dataclass(frozen=True)
class Patches:
  """How images of one shape are cut into tokens.

  Attributes:
    image_shape: (*spatial, channels).
    patch_shape: one entry per spatial axis.
  """

  image_shape: tuple[int, ...]
  patch_shape: tuple[int, ...]

  @property
  def token_shape(self) -> tuple[int, int]:
    """(N, C) of an image."""
    num_tokens = math.prod(i // p for i, p in zip(self.image_shape[:-1], self.patch_shape))
    return num_tokens, math.prod(self.image_shape) // num_tokens

  def to_tokens(self, images: Array) -> Array:
    """[B, *image_shape] → x_BNC."""
    return patchify(images, self.patch_shape)

  def to_images(self, x_BNC: Array) -> Array:
    """The inverse of `to_tokens`."""
    return unpatchify(x_BNC, self.image_shape, self.patch_shape)


def patchify(x: Array, patch_shape: tuple[int, ...]) -> Array:
  """Cuts a grid into patches, row-major; exact inverse of `unpatchify`.

  Args:
    x: [B, *spatial, channels].
    patch_shape: one entry per spatial axis, dividing it.

  Returns:
    x_BNC, C = prod(patch_shape) * channels with the channels fastest.

  Raises:
    ValueError: an axis that the patch does not divide, or another number of axes.
  """
  spatial = x.shape[1:-1]
  if len(spatial) != len(patch_shape) or any(n % p for n, p in zip(spatial, patch_shape)):
    raise ValueError(f"patch_shape {patch_shape} does not divide the grid {spatial}.")
  axes = len(spatial)
  split = [size for n, p in zip(spatial, patch_shape) for size in (n // p, p)]
  x = x.reshape(x.shape[0], *split, x.shape[-1])
  outer, inner = range(1, 2 * axes, 2), range(2, 2 * axes + 1, 2)
  x = x.transpose(0, *outer, *inner, 2 * axes + 1)
  num_tokens = 1
  for n, p in zip(spatial, patch_shape):
    num_tokens *= n // p
  return x.reshape(x.shape[0], num_tokens, -1)


def unpatchify(x_BNC: Array, image_shape: tuple[int, ...], patch_shape: tuple[int, ...]) -> Array:
  """Puts patches back together.

  Args:
    x_BNC: tokens.
    image_shape: (*spatial, channels) of the result.
    patch_shape: as given to `patchify`.

  Returns:
    [B, *spatial, channels].
  """
  spatial, channels = image_shape[:-1], image_shape[-1]
  axes = len(spatial)
  grid = [n // p for n, p in zip(spatial, patch_shape)]
  x = x_BNC.reshape(x_BNC.shape[0], *grid, *patch_shape, channels)
  interleaved = [axis for i in range(axes) for axis in (1 + i, 1 + axes + i)]
  return x.transpose(0, *interleaved, 2 * axes + 1).reshape(x.shape[0], *spatial, channels)
