"""Whether pictures show what captions of procedural scenes say, found in the pixels.

Things stand out from a grey background by their chroma, a colour less its mean over RGB:

1. Pixels whose chroma is far from that of the picture's frame form components of neighbours.
2. The strongest pixels of a component give its colour, and the share of this chroma in each pixel
   its coverage.
3. The coverage's sum and centroid place each of the six shapes, of the same area, over the
   component; the one with the largest overlap sum(min) / sum(max) is its shape, and the radius of
   that one its size. Below an overlap of 0.65 it is none.

A picture is right if it shows the things that the caption names, with the attributes that
it names, and no others. Chance is the share that is right when captions are shuffled within
their category.
"""

import functools
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from ntm.data import scene_pixels
from ntm.data.scenes import CATEGORIES, Scene, Thing

NOTHING = "unknown"  # Shape or colour of a thing that has none of ours.
_LARGEST = 10.0  # Of a sample in [-1, 1]; pixels in 0..255 are beyond.
_CHROMA = 0.16  # Half of that of the palest colour under the weakest light.
_CORE = 0.8  # Of the strongest chroma.
_LEAST_AREA = 0.005  # Of the picture; the smallest thing has 0.016.
_LEAST_OVERLAP = 0.65
_FURTHEST_COLOUR = 0.25  # In RGB; half of what lies between the nearest two is 0.17.
_LEAST_OFFSET = 0.05  # Between centres, in sides of the picture, for a relation to hold.
_PLANAR = np.zeros((3, 3, 3), bool)  # Neighbours by an edge, within a picture.
_PLANAR[1] = ndimage.generate_binary_structure(2, 1)


def score(images: np.ndarray, scenes: Sequence[Scene]) -> np.ndarray:
  """Whether each picture shows what its scene's caption says, [B] bool.

  Args:
    images: [B, H, W, 3], floats in [-1, 1], of which samples may miss a little: they are clipped.
    scenes: the B that they should show.

  Raises:
    ValueError: another shape or number of pictures, pictures that are not square, integers, or
      values that are far outside, NaN or infinite.
  """
  images = np.asarray(images)
  if images.dtype.kind != "f":
    raise ValueError(f"images have type {images.dtype.name}; expected floats in [-1, 1]: divide "
                     "uint8 by 127.5 and subtract 1.")
  if (images.ndim != 4 or images.shape[-1] != 3 or images.shape[1] != images.shape[2]
      or len(images) != len(scenes)):
    raise ValueError(f"images have shape {images.shape}; expected ({len(scenes)}, side, side, 3), "
                     "one square picture per scene.")
  if not np.isfinite(images).all():
    raise ValueError("images have NaN or infinite values; expected numbers in [-1, 1].")
  if np.abs(images).max(initial=0) > _LARGEST:
    raise ValueError(f"images reach {np.abs(images).max():g}; expected numbers in [-1, 1].")
  if not len(images):
    return np.zeros(0, bool)
  images = images.astype(np.float32)
  return np.array([shows(things, scene) for things, scene in zip(find(images), scenes)], bool)


def breakdown(right_B: np.ndarray, scenes: Sequence[Scene]) -> dict[str, dict[str, float]]:
  """Shares of right pictures by category, and their mean over the categories, "mean".

  Returns:
    {category: {"share", "standard_error", "count"}}. The error of k of n is
    sqrt(p (1 - p) / n) with p = (k + 1) / (n + 2), which is not 0 where all are right; that of the
    mean has the categories as they are. Categories without a picture are left out.

  Raises:
    ValueError: no scenes, or not one boolean per scene.
  """
  right_B = np.asarray(right_B)
  if right_B.shape != (len(scenes),) or right_B.dtype != bool:
    raise ValueError(f"right_B has shape {right_B.shape} and type {right_B.dtype.name}; expected "
                     f"({len(scenes)},) and bool, what `score` returns.")
  if not len(scenes):
    raise ValueError("scenes is empty; expected at least one.")
  result = {}
  for category in CATEGORIES:
    part = right_B[[scene.category == category for scene in scenes]]
    if len(part):
      p = (part.sum() + 1) / (len(part) + 2)
      result[category] = {"share": float(part.mean()), "count": len(part),
                          "standard_error": float(np.sqrt(p * (1 - p) / len(part)))}
  rows = list(result.values())
  error = np.sqrt(sum(row["standard_error"] ** 2 for row in rows)) / max(1, len(rows))
  result["mean"] = {"share": float(np.mean([row["share"] for row in rows])),
                    "count": len(right_B), "standard_error": float(error)}
  return result


def summary(right_B: np.ndarray, scenes: Sequence[Scene], prefix: str = "") -> dict[str, float]:
  """The shares of `breakdown` and their errors under one name each, as `score_two_objects`."""
  result = {}
  for category, row in breakdown(right_B, scenes).items():
    name = f"{prefix}score" + ("" if category == "mean" else f"_{category.replace(' ', '_')}")
    result |= {name: row["share"], f"{name}_standard_error": row["standard_error"]}
  return result


def shows(things: Sequence[Thing], scene: Scene) -> bool:
  """Whether these things, and no others, are what the scene's caption names."""
  groups = []
  for phrase in scene.phrases:  # Of different shapes.
    group = [thing for thing in things if thing.shape == phrase.shape]
    if len(group) != phrase.count or not all(
        phrase.colour in (None, thing.colour) and phrase.size in (None, thing.size)
        for thing in group):
      return False
    groups.append(group)
  if sum(map(len, groups)) != len(things):
    return False
  return scene.relation is None or all(
      _related(scene.relation, first, second) for first in groups[0] for second in groups[1])


def _related(relation, first, second):
  right, down = first.column - second.column, first.row - second.row
  offset = {"left of": -right, "right of": right, "above": -down, "below": down}[relation]
  return offset > _LEAST_OFFSET


def find(images: np.ndarray) -> list[list[Thing]]:
  """The things in each of the pictures [B, H, W, 3]."""
  rgb = (np.clip(images, -1, 1) + 1) / 2
  chroma = rgb - rgb.mean(axis=-1, keepdims=True)
  frame = np.concatenate([chroma[:, 0], chroma[:, -1], chroma[:, :, 0], chroma[:, :, -1]], axis=1)
  chroma -= np.median(frame, axis=1)[:, None, None]
  strength = np.linalg.norm(chroma, axis=-1)
  labels, _ = ndimage.label(strength > _CHROMA, _PLANAR)
  least = _LEAST_AREA * images.shape[1] * images.shape[2]
  counts = np.bincount(labels.ravel())
  found = [[] for _ in images]
  for label, (picture, rows, columns) in enumerate(ndimage.find_objects(labels), 1):
    if counts[label] < least / 2:
      continue  # Specks of noise, of which there may be hundreds.
    b = picture.start
    window = tuple(slice(max(0, part.start - 1), part.stop + 1) for part in (rows, columns))
    inside, others = labels[b][window] == label, labels[b][window] > 0
    others &= ~inside
    core = inside & (strength[b][window] >= _CORE * strength[b][window][inside].max())
    direction = chroma[b][window][core].mean(axis=0)
    cover = chroma[b][window] @ direction / (direction @ direction)
    cover[others | ~ndimage.binary_dilation(inside, np.ones((3, 3)))] = 0
    if cover.sum() >= least:
      found[b].append(_thing(cover, window, rgb[b][window][core].mean(axis=0), images.shape[1:3]))
  return found


def _thing(cover, window, rgb, sides):
  """What covers these pixels of a window with this colour."""
  shape, row, column, radius = _nearest_shape(cover, *(
      scene_pixels.centres(side)[part] for part, side in zip(window, sides)))
  distances = {name: np.linalg.norm(rgb - value) for name, value in scene_pixels.COLOURS.items()}
  colour = min(distances, key=distances.get)
  radius /= np.sqrt(sides[0] * sides[1])
  size = min(scene_pixels.RADII, key=lambda name: abs(np.log(radius / scene_pixels.RADII[name])))
  return Thing(shape, colour if distances[colour] < _FURTHEST_COLOUR else NOTHING, size,
               row / sides[0], column / sides[1], radius)


def _nearest_shape(cover, y, x):
  """(shape, row, column, radius) of the largest overlap, in pixels."""
  area = cover.sum()
  row, column = (cover.sum(axis=1) @ y) / area, (cover.sum(axis=0) @ x) / area
  cover, best = np.clip(cover, 0, 1), (_LEAST_OVERLAP, (NOTHING, row, column, np.sqrt(area / 2)))
  for shape, (unit_area, unit_row) in _moments().items():
    radius = np.sqrt(area / unit_area)
    centre = row - unit_row * radius
    ideal = scene_pixels.coverage(shape, [centre], [column], [radius], y, x)[0]
    overlap = np.minimum(cover, ideal).sum() / np.maximum(cover, ideal).sum()
    best = max(best, (overlap, (shape, centre, column, radius)), key=lambda pair: pair[0])
  return best[1]


@functools.cache
def _moments():
  """{shape: (area, row of the centroid)} at radius 1."""
  side, radius = 256, 100.0
  axis = scene_pixels.centres(side) - side / 2
  result = {}
  for shape in scene_pixels.SHAPES:
    cover = scene_pixels.coverage(shape, [0.0], [0.0], [radius], axis, axis)[0].astype(np.float64)
    result[shape] = (cover.sum() / radius ** 2, cover.sum(axis=1) @ axis / cover.sum() / radius)
  return result
