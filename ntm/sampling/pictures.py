"""Samples as PNG: grids of images with or without captions, points of the plane, sounds, clips."""

import os
import textwrap
from collections.abc import Sequence

import numpy as np
from etils import epath
from PIL import Image, ImageDraw, ImageFont

from ntm.sampling import sounds

_SIDE, _REACH = 240, 1.5  # Pixels of a panel of the plane, and what it shows: [-1.5, 1.5]^2.
_FONT_SIZE, _LINE, _MARGIN = 12, 15, 4  # Of captions, in pixels.


def draw(rows) -> np.ndarray:
  """The picture of samples, [rows, columns, *image_shape].

  Images are tiled, the frames of clips side by side; points of the plane are scattered, and sounds
  drawn as `ntm.sampling.sounds` does.
  """
  shape = np.shape(rows)
  if planar(shape[2:]):
    return panels(rows)
  if audible(shape[2:]):
    return sounds.draw(rows)
  return grid(np.reshape(rows, (shape[0], -1, *shape[-3:])))


def panels(rows) -> np.ndarray:
  """Scatters points of the plane, one panel per row, side by side.

  A pixel is darker the more points it holds. Points outside [-1.5, 1.5]^2 are not shown.

  Args:
    rows: [rows, points, 2, 1], the first coordinate to the right, the second up.

  Returns:
    uint8, [height, width, 1].
  """
  edges = np.linspace(-_REACH, _REACH, _SIDE + 1)
  counts = [np.histogram2d(-points[:, 1], points[:, 0], bins=(edges, edges))[0]
            for points in np.asarray(rows, np.float64)[..., 0]]
  pixels = [np.pad(255 * 0.5 ** count, 1, constant_values=96) for count in counts]
  return np.concatenate(pixels, axis=1).round().astype(np.uint8)[..., None]


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
  pixels = to_uint8(rows)
  pixels = pixels.repeat(zoom, axis=2).repeat(zoom, axis=3)
  pixels = np.pad(pixels, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)), constant_values=96)
  count, columns, height, width, channels = pixels.shape
  return pixels.transpose(0, 2, 1, 3, 4).reshape(count * height, columns * width, channels)


def to_uint8(images) -> np.ndarray:
  """Images in [-1, 1], or clipped to it, as the nearest of 256 levels."""
  return (np.clip(images, -1, 1) * 127.5 + 127.5).round().astype(np.uint8)


def captioned(rows, captions: Sequence[Sequence[str]], side: int = 144) -> np.ndarray:
  """`grid` with a caption below every image, in as many lines as the longest needs.

  Args:
    rows: [rows, columns, H, W, C], as `grid` takes them.
    captions: a text per image, [rows][columns].
    side: images are enlarged to at least so many pixels.

  Returns:
    uint8, [height, width, 3].
  """
  tiles = [[grid(np.asarray(image)[None, None], side) for image in row] for row in rows]
  height, width, channels = tiles[0][0].shape
  font = ImageFont.load_default(_FONT_SIZE)
  room = int((width - 2 * _MARGIN) / font.getlength("abcdefghijklm nopqrstuvwxyz") * 27)
  texts = [[textwrap.wrap(text, max(1, room)) for text in row] for row in captions]
  height += _LINE * max(len(lines) for row in texts for lines in row) + 2 * _MARGIN
  page = Image.new("RGB", (width * len(tiles[0]), height * len(tiles)), "white")
  draw = ImageDraw.Draw(page)
  for i, row in enumerate(tiles):
    for j, tile in enumerate(row):
      page.paste(Image.fromarray(np.broadcast_to(tile, (*tile.shape[:2], 3)) if channels == 1
                                 else tile), (j * width, i * height))
      for k, line in enumerate(texts[i][j]):
        draw.text((j * width + _MARGIN, i * height + tile.shape[0] + _MARGIN + _LINE * k), line,
                  "black", font)
  return np.asarray(page)


def drawable(image_shape: tuple[int, ...]) -> bool:
  """Whether `draw` takes this shape, as it does not take latents."""
  return planar(image_shape) or audible(image_shape) or (
      len(image_shape) in (3, 4) and image_shape[-1] in (1, 3))


def audible(image_shape: tuple[int, ...]) -> bool:
  """Whether "images" are sounds, [L, 1]."""
  return len(image_shape) == 2 and image_shape[-1] == 1 and not planar(image_shape)


def planar(image_shape: tuple[int, ...]) -> bool:
  """Whether "images" are points of the plane, two tokens of one channel."""
  return tuple(image_shape) == (2, 1)


def save(path: str | os.PathLike, picture: np.ndarray) -> None:
  """Writes a PNG, whole or not at all; makes the directory if needed."""
  path = epath.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.with_suffix(".partial")
  image = Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
  with partial.open("wb") as file:
    image.save(file, "PNG")
  partial.replace(path)
