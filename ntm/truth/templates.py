"""Glyphs drawn from strokes: the means of a mixture in pixel space, without any file.

A glyph is four different strokes between neighbouring points, diagonals too, of
a 3 x 3 lattice: one of 4,845. Glyph k is the k-th of one fixed random order, so
that more glyphs extend fewer ones. A pixel's ink falls off linearly over one pixel
around the edge of a stroke.
"""

import itertools

import numpy as np

_POINTS = [(row, column) for row in (0.2, 0.5, 0.8) for column in (0.2, 0.5, 0.8)]
_STROKES = [pair for pair in itertools.combinations(_POINTS, 2)
            if max(abs(a - b) for a, b in zip(*pair)) < 0.4]
_HALF_WIDTH = 0.07  # Of a stroke, in sides of the image.


def glyphs(count: int, shape: tuple[int, ...]) -> np.ndarray:
  """The first `count` glyphs, [count, H, W] in [-1, 1], white on black.

  Args:
    count: up to 4,845.
    shape: (H, W).
  """
  rng = np.random.default_rng(0)
  chosen = list(itertools.combinations(range(len(_STROKES)), 4))
  order = rng.permutation(len(chosen))[:count]
  ink = np.stack([_stroke(*stroke, shape) for stroke in _STROKES])
  return np.stack([2 * ink[list(chosen[i])].max(axis=0) - 1 for i in order])


def _stroke(start, end, shape):
  """Ink of one stroke in [0, 1], [H, W]."""
  pixels = np.stack(np.meshgrid(*((np.arange(size) + 0.5) / size for size in shape),
                                indexing="ij"), axis=-1)
  start, along = np.array(start), np.subtract(end, start)
  share = np.clip((pixels - start) @ along / (along @ along), 0, 1)
  distance = np.linalg.norm(pixels - start - share[..., None] * along, axis=-1)
  return np.clip((_HALF_WIDTH - distance) * min(shape) + 0.5, 0, 1)
