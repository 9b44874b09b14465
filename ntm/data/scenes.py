"""Endless captioned pictures of coloured shapes, with their ground truth.

Scene i of a split is a function of (seed, split, i) alone: any one is made without those before it.
Its category is i mod 6, and its caption names everything in the picture:

| category | caption names |
|---|---|
| single object | a shape, every second time with its size |
| two objects | two different shapes |
| counting | two to four of a shape, every second time with their colour |
| colours | a shape with its colour |
| position | two groups of one or two, how they lie, every second time with their colours |
| colour attribution | two different shapes with their different colours |

The categories are those of GenEval [Ghosh et al., 2023]. Things never touch each other or the
frame.

Some combinations are in no picture of `train` and `test`; a scene of `unseen` has exactly one of
them (`HELD_OUT`), the one that its category is about, and its caption names it.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import numpy as np

from ntm.data import scene_captions, scene_layout, scene_pixels
from ntm.data.scene_captions import Phrase
from ntm.data.scene_pixels import COLOURS, RADII, SHAPES

CATEGORIES = ("single object", "two objects", "counting", "colours", "position",
              "colour attribution")
SPLITS = ("train", "test", "unseen")
SIDES = (32, 64)
_AT_A_TIME = 2 ** 16  # Pixels drawn at once: fits in caches.
_NUMBERS = 96  # Random numbers for a scene without its look; fewer are used.
_RADIUS_JITTER = 0.04
_LENGTH = 2 ** 30  # Grain shuffles up to 2^32 indices.

_shapes, _colours, _sizes = tuple(SHAPES), tuple(COLOURS), tuple(RADII)
HELD_OUT = {
    "size": frozenset((_sizes[i], _shapes[2 * i]) for i in range(3)),
    "count": frozenset((2 + i, _shapes[2 * i + 1]) for i in range(3)),
    "colour": frozenset((colour, _shapes[i % 6]) for i, colour in enumerate(_colours)),
    "pair": frozenset(pair for i in range(3)
                      for pair in itertools.permutations(_shapes[2 * i:2 * i + 2])),
}


def _choices(kind, values):
  """({held out or not: pairs of that kind}, {shape: values that are not held out with it})."""
  pairs = {unseen: tuple(pair for pair in itertools.product(values, _shapes)
                         if (pair in HELD_OUT[kind]) == unseen and pair[0] != pair[1])
           for unseen in (False, True)}
  return pairs, {shape: tuple(a for a, b in pairs[False] if b == shape) for shape in _shapes}


_SIZED, _SIZES_OF = _choices("size", _sizes)
_COUNTED, _COUNTS_OF = _choices("count", (2, 3, 4))
_COLOURED, _COLOURS_OF = _choices("colour", _colours)
_PAIRED, _ = _choices("pair", _shapes)


@dataclasses.dataclass(frozen=True)
class Thing:
  """A thing of a scene: its shape, colour and size by name, and where it is.

  `row` and `column` of its centre, from the upper left, and `radius` are in sides of the picture.
  """

  shape: str
  colour: str
  size: str
  row: float
  column: float
  radius: float


@dataclasses.dataclass(frozen=True)
class Scene:
  """The ground truth of a picture.

  Attributes:
    category: one of `CATEGORIES`.
    phrases: one or two groups that the caption names, of different shapes.
    relation: of the first to the second, a key of `scene_captions.RELATIONS`, or None.
    objects: all that is in the picture, in the order of the phrases.
    caption: text.
  """

  category: str
  phrases: tuple[Phrase, ...]
  relation: str | None
  objects: tuple[Thing, ...]
  caption: str


class Scenes:
  """Pictures and captions by index.

  Attributes:
    num_classes: categories, the labels.
  """

  num_classes = len(CATEGORIES)

  def __init__(self, split: str, side: int = 32, seed: int = 0, with_captions: bool = False):
    """Scenes of `split`, in pictures of `side` pixels; every seed has its own.

    With captions, examples have their text too, as "caption".

    Raises:
      ValueError: another split, side or seed.
    """
    if split not in SPLITS:
      raise ValueError(f"split is {split!r}; expected one of {SPLITS}.")
    if side not in SIDES:
      raise ValueError(f"scenes have a side of {side!r} pixels; expected one of {SIDES}, which "
                       "config.model.image_shape sets.")
    if not isinstance(seed, int | np.integer) or seed < 0:
      raise ValueError(f"the seed of scenes is {seed!r}; expected an integer of at least 0.")
    self._split, self._side, self._seed = split, side, seed
    self._with_captions = with_captions

  def __len__(self) -> int:
    return _LENGTH

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    """{"image": float32 [side, side, 3] in (-1, 1), "label": int32, the category}."""
    images, (scene,) = self.batch([index])
    example = {"image": images[0], "label": np.int32(CATEGORIES.index(scene.category))}
    return example | ({"caption": scene.caption} if self._with_captions else {})

  def batch(self, indices: Sequence[int]) -> tuple[np.ndarray, list[Scene]]:
    """Pictures [M, side, side, 3] float32 in (-1, 1) at M indices, and their M scenes.

    Raises:
      IndexError: an index below 0 or beyond the last.
    """
    indices = [int(index) for index in indices]
    images, scenes = [np.empty((0, self._side, self._side, 3), np.float32)], []
    size = _AT_A_TIME // self._side ** 2
    for start in range(0, len(indices), size):
      part = indices[start:start + size]
      look_BL = np.empty((len(part), scene_pixels.LOOK))
      grain = np.empty((len(part), self._side, self._side, 3), np.float32)
      for b, index in enumerate(part):
        rng = self._rng(index)
        scenes.append(draw(CATEGORIES[index % len(CATEGORIES)], self._split == "unseen",
                           rng.random(_NUMBERS).tolist()))
        look_BL[b] = rng.random(scene_pixels.LOOK)
        rng.random(dtype=np.float32, out=grain[b])
      images.append(scene_pixels.render(scenes[start:], look_BL, grain))
    return np.concatenate(images), scenes

  def examples(self, indices: Sequence[int]) -> dict[str, np.ndarray]:
    """{"image": [M, side, side, 3], "label": [M] int32, the categories} at M indices."""
    images, scenes = self.batch(indices)
    return {"image": images, "label": np.int32([CATEGORIES.index(s.category) for s in scenes])}

  def scene(self, index: int) -> Scene:
    """The scene at an index, without its picture; IndexError as `batch`."""
    return draw(CATEGORIES[index % len(CATEGORIES)], self._split == "unseen",
                self._rng(index).random(_NUMBERS).tolist())

  def _rng(self, index):
    if not 0 <= index < _LENGTH:
      raise IndexError(f"scene {index} is out of range; indices are 0 to {_LENGTH - 1}.")
    return np.random.default_rng([self._seed, SPLITS.index(self._split), index])

  def record(self) -> list[str]:
    """Split, side and seed of the scenes."""
    return [f"scenes, {self._split}, {self._side} x {self._side}, seed {self._seed}"]


def draw(category: str, unseen: bool, numbers: Sequence[float]) -> Scene:
  """A scene of a category, with or without a held-out combination.

  Args:
    category: one of `CATEGORIES`.
    unseen: whether it has one.
    numbers: uniform in [0, 1), at least 96.
  """
  u = iter(numbers)
  pick = lambda values: values[int(next(u) * len(values))]
  phrases = _phrases(category, unseen, pick)
  relation = pick(tuple(scene_captions.RELATIONS)) if category == "position" else None
  things = [[_attributes(phrase, pick, next(u)) for _ in range(phrase.count)]
            for phrase in phrases]
  groups = things if len(things) == 2 else _halves(things[0])
  axis = int(relation in ("left of", "right of")) if relation else int(2 * next(u))
  swapped = relation in ("right of", "below")
  radii = [[thing[-1] for thing in group] for group in groups]
  places = scene_layout.place(radii[::-1] if swapped else radii, axis, u)
  if swapped:
    places = places[len(groups[1]):] + places[:len(groups[1])]
  objects = tuple(Thing(shape, colour, size, row, column, radius) for
                  (shape, colour, size, radius), (row, column) in zip(sum(things, []), places))
  return Scene(category, phrases, relation, objects, scene_captions.write(phrases, relation, pick))


def _phrases(category: str, unseen: bool, pick: Callable) -> tuple[Phrase, ...]:
  """What the caption names."""
  if category == "single object":
    size, shape = pick(_SIZED[unseen])
    return (Phrase(1, shape, size=size if unseen or pick((True, False)) else None),)
  if category == "counting":
    count, shape = pick(_COUNTED[unseen])
    return (Phrase(count, shape, pick((None, pick(_COLOURS_OF[shape])))),)
  if category == "colours":
    colour, shape = pick(_COLOURED[unseen])
    return (Phrase(1, shape, colour),)
  if category == "colour attribution":
    colour, shape = pick(_COLOURED[unseen])
    other = pick(tuple(b for a, b in _PAIRED[False] if a == shape))
    left = tuple(value for value in _COLOURS_OF[other] if value != colour)
    phrases = Phrase(1, shape, colour), Phrase(1, other, pick(left))
    return pick((phrases, phrases[::-1]))
  pair = pick(_PAIRED[unseen])
  if category == "two objects":
    return tuple(Phrase(1, shape) for shape in pair)
  coloured = pick((True, False))
  return tuple(Phrase(pick((1, 1, 1, 2 if 2 in _COUNTS_OF[shape] else 1)), shape,
                      pick(_COLOURS_OF[shape]) if coloured else None) for shape in pair)


def _attributes(phrase, pick, jitter):
  """(shape, colour, size, radius) of a thing of a phrase."""
  size = phrase.size or pick(_SIZES_OF[phrase.shape])
  radius = RADII[size] * (1 + _RADIUS_JITTER * (2 * jitter - 1))
  return phrase.shape, phrase.colour or pick(_COLOURS_OF[phrase.shape]), size, radius


def _halves(things):
  """One or two groups."""
  half = len(things) // 2
  return [things[:half], things[half:]] if half else [things]
