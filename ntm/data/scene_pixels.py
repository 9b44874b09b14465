"""Pixels of procedural scenes: shapes by signed distances, on graded or textured backgrounds.

A shape's distance d to its border, negative inside, is a formula in the offset from its centre,
and a pixel's coverage is clip(1/2 - d, 0, 1) with d in pixels: anti-aliased without supersampling.
Every value of the picture is continuous: the background is graded, the light falls off across
the scene, and each pixel has a little noise of its own. None is clipped, so a density of the
pixels exists.
"""

import numpy as np

COLOURS = {  # RGB in [0, 1]; light, jitter and noise keep them within it.
    "red": (0.84, 0.12, 0.14), "orange": (0.88, 0.50, 0.10), "yellow": (0.87, 0.84, 0.14),
    "green": (0.14, 0.62, 0.22), "cyan": (0.16, 0.76, 0.84), "blue": (0.14, 0.26, 0.84),
    "purple": (0.48, 0.14, 0.72), "pink": (0.88, 0.40, 0.72)}
RADII = {"small": 0.11, "medium": 0.15, "large": 0.2}  # In sides of the picture.
LOOK = 16  # Random numbers behind background and light.
_JITTER, _LIGHT, _GRAIN = 0.02, 0.08, 0.02
_TINT, _SLOPE, _TEXTURE = 0.03, 0.12, 0.05


def _box(x, y, half_width, half_height):
  return np.maximum(np.abs(x) - half_width, np.abs(y) - half_height)


def _triangle(x, y, r):
  """Equilateral, upright; y is downwards."""
  sloped = np.float32(np.sqrt(3) / 2) * np.abs(x) - (y + 0.9 * r) / 2
  return np.maximum(sloped, y - 0.7 * r)


# Distances at offsets (x to the right, y down) for a radius r, in the same unit. Every shape is
# within [-r, r]^2.
SHAPES = {
    "circle": lambda x, y, r: np.sqrt(x * x + y * y) - 0.95 * r,
    "square": lambda x, y, r: _box(x, y, 0.85 * r, 0.85 * r),
    "triangle": _triangle,
    "diamond": lambda x, y, r: (np.abs(x) + np.abs(y) - r) * np.float32(np.sqrt(0.5)),
    "cross": lambda x, y, r: np.minimum(_box(x, y, r, 0.32 * r), _box(x, y, 0.32 * r, r)),
    "ring": lambda x, y, r: np.abs(np.sqrt(x * x + y * y) - 0.73 * r) - 0.25 * r,
}


def coverage(shape: str, row_M: np.ndarray, column_M: np.ndarray, radius_M: np.ndarray,
             y: np.ndarray, x: np.ndarray) -> np.ndarray:
  """The share of each pixel that a shape covers, [M, height, width] float32 in [0, 1].

  Args:
    shape: a key of `SHAPES`.
    row_M: centres, in pixels.
    column_M: as `row_M`.
    radius_M: in pixels.
    y: rows of the pixels' centres, [height].
    x: columns of the pixels' centres, [width].
  """
  at = lambda values: np.asarray(values, np.float32)[:, None, None]
  distance = SHAPES[shape](x[None, None] - at(column_M), y[None, :, None] - at(row_M),
                           at(radius_M))
  return np.clip(0.5 - distance, 0, 1)


def centres(side: int) -> np.ndarray:
  """Coordinates of the pixels' centres along an axis, in pixels, [side] float32."""
  return np.arange(side, dtype=np.float32) + np.float32(0.5)


def render(scenes, look_BL: np.ndarray, grain: np.ndarray) -> np.ndarray:
  """Pictures of scenes.

  Args:
    scenes: B of `ntm.data.scenes.Scene`.
    look_BL: numbers in [0, 1) that choose background and light, [B, LOOK].
    grain: numbers in [0, 1), the noise of the pixels, [B, side, side, 3] float32.

  Returns:
    float32 [B, side, side, 3] in (-1, 1).
  """
  side = grain.shape[1]
  axis = centres(side)
  u = np.asarray(look_BL, np.float32)[:, :, None, None]
  along = axis / side - np.float32(0.5)
  y, x = along[None, :, None], along[None, None]
  image = _background(u, y, x)[..., None] + _TINT * (2 * u[:, None, :, 0, 0][:, :, None, :3] - 1)
  objects = [(b, k, thing) for b, scene in enumerate(scenes)
             for k, thing in enumerate(scene.objects)]
  places = np.array([(thing.row, thing.column, thing.radius) for *_, thing in objects]) * side
  cover = np.empty((len(objects), side, side), np.float32)
  names = np.array([thing.shape for *_, thing in objects])
  for name in set(names.tolist()):
    of = names == name
    cover[of] = coverage(name, *places[of].T, axis, axis)
  of_scene, slots = (np.array([thing[i] for thing in objects]) for i in (0, 1))
  rgb = np.array([COLOURS[thing.colour] for *_, thing in objects], np.float32)
  rgb += _JITTER * (2 * u[of_scene, 3:6, 0, 0] - 1)
  for slot in range(slots.max() + 1):
    of = slots == slot
    behind = image[of_scene[of]]
    image[of_scene[of]] += cover[of][..., None] * (rgb[of][:, None, None] - behind)
  light = 1 + _LIGHT * ((2 * u[:, 6] - 1) * y + (2 * u[:, 7] - 1) * x)
  image = image * light[..., None] + _GRAIN * (2 * grain - 1)
  return 2 * image - 1


def _background(u, y, x):
  """Brightness [B, side, side]: a slope, and on two scenes of three stripes or a weave."""
  value = 0.3 + 0.35 * u[:, 8]
  value = value + _SLOPE * ((2 * u[:, 9] - 1) * y + (2 * u[:, 10] - 1) * x)
  turn = 2 * np.pi * u[:, 11]
  waves = 2 * np.pi * (2 + 4 * u[:, 12])
  first = np.sin(waves * (np.cos(turn) * x + np.sin(turn) * y) + 2 * np.pi * u[:, 13])
  second = np.sin(waves * (np.cos(turn) * y - np.sin(turn) * x))
  kind = u[:, 14]
  texture = np.where(kind < 1 / 3, 0, np.where(kind < 2 / 3, first, first * second))
  return (value + _TEXTURE * u[:, 15] * texture).astype(np.float32)
