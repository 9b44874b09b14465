"""Sample grids as PNG: arrays in, one picture out."""

import os

import numpy as np
from etils import epath
from PIL import Image


def grid(rows, min_side: int = 48) -> np.ndarray:
  """Tiles images of equal size with a thin frame, enlarged without smoothing.

  Args:
    rows: [rows, columns, H, W, C] in [-1, 1], C = 1 or 3; values outside are
      clipped for display.
    min_side: images smaller than this are enlarged by a whole factor.

  Returns:
    uint8, [height, width, C].
  """
  rows = np.asarray(rows, np.float32)
  zoom = max(1, -(-min_side // min(rows.shape[2:4])))
  pixels = (np.clip(rows, -1, 1) * 127.5 + 127.5).round().astype(np.uint8)
  pixels = pixels.repeat(zoom, axis=2).repeat(zoom, axis=3)
  pixels = np.pad(pixels, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)), constant_values=96)
  count, columns, height, width, channels = pixels.shape
  return pixels.transpose(0, 2, 1, 3, 4).reshape(count * height, columns * width, channels)


def drawable(image_shape: tuple[int, ...]) -> bool:
  """Whether arrays of this shape are pictures, [H, W, 1 or 3]; latents are not."""
  return len(image_shape) == 3 and image_shape[-1] in (1, 3)


def save(path: str | os.PathLike, picture: np.ndarray) -> None:
  """Writes a PNG, whole or not at all; makes the directory if needed."""
  path = epath.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.with_suffix(".partial")
  image = Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
  with partial.open("wb") as file:
    image.save(file, "PNG")
  partial.replace(path)
