"""Endless clips of a moving shape, 8 frames of 16 x 16 pixels: data on three axes.

A disc, a square or a ring, bright on a dark background, moves at constant velocity and bounces
off the frame; it is anti-aliased, and has a little noise, so that clips have a density. Clip i of
a split is a function of (split, i) alone; the shape is the class.
"""

import numpy as np

CLASSES = ("disc", "square", "ring")
SHAPE = (8, 16, 16, 1)
_EXAMPLES = {"train": 2**30, "test": 2**20}
_FASTEST = 2.5  # Pixels per frame, along each axis.
_NOISE = 0.02
_ROW, _COLUMN = np.mgrid[:SHAPE[1], :SHAPE[2]]


class Clips:
  """Clips by index.

  Attributes:
    num_classes: shapes.
  """

  num_classes = len(CLASSES)

  def __init__(self, split: str):
    self._split = split

  def __len__(self) -> int:
    return _EXAMPLES[self._split]

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    """{"image": float32 [8, 16, 16, 1], about [-1, 1], "label": int32, of `CLASSES`}."""
    rng = np.random.default_rng([self._split == "train", index])
    label, radius = int(rng.integers(len(CLASSES))), rng.uniform(2.2, 3.5)
    start_A = rng.uniform(radius, SHAPE[1] - 1 - radius, 2)
    speed_A = rng.uniform(-_FASTEST, _FASTEST, 2)
    frame_F = np.arange(SHAPE[0])[:, None]
    row_F, column_F = _bounced(start_A + frame_F * speed_A, radius).T[..., None, None]
    row, column = abs(_ROW - row_F), abs(_COLUMN - column_F)
    # Distance to the edge in pixels, positive within.
    inside = {"disc": radius - np.hypot(row, column),
              "square": 0.9 * radius - np.maximum(row, column),
              "ring": 0.9 - abs(np.hypot(row, column) - 0.8 * radius)}[CLASSES[label]]
    level = rng.uniform(0.5, 0.9)
    pixels = -0.8 + (level + 0.8) * np.clip(inside + 0.5, 0, 1)
    pixels += _NOISE * rng.standard_normal(SHAPE[:-1])
    return {"image": pixels.astype(np.float32)[..., None], "label": np.int32(label)}

  def record(self) -> list[str]:
    """The split."""
    return [f"clips of moving shapes, {self._split}"]


def _bounced(place, radius):
  """Places as a ball is that bounces where it touches the frame."""
  room = SHAPE[1] - 1 - 2 * radius
  folded = (place - radius) % (2 * room)
  return radius + np.minimum(folded, 2 * room - folded)
