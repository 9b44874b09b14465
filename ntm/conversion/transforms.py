"""Invertible changes of layout between an array of theirs and an array of ours."""

import dataclasses
import functools
import math
from collections.abc import Callable

import numpy as np


@dataclasses.dataclass(frozen=True)
class Transform:
  """An invertible change of layout of one array.

  Attributes:
    forward: theirs → ours.
    backward: ours → theirs.
  """

  forward: Callable[[np.ndarray], np.ndarray]
  backward: Callable[[np.ndarray], np.ndarray]


KEEP = Transform(lambda a: a, lambda a: a)
CONV = Transform(lambda a: a.transpose(2, 3, 1, 0), lambda a: a.transpose(3, 2, 0, 1))


def linear(outputs: tuple[int, ...] = (), inputs: tuple[int, ...] = ()) -> Transform:
  """A PyTorch weight [out, in] ↔ a kernel [*inputs, *outputs]; () is one axis of any length."""
  num_inputs = len(inputs) or 1
  return Transform(
      lambda a: a.T.reshape(*(inputs or a.shape[1:]), *(outputs or a.shape[:1])),
      lambda a: a.reshape(math.prod(a.shape[:num_inputs]), math.prod(a.shape[num_inputs:])).T)


def reshape(theirs: tuple[int, ...], ours: tuple[int, ...]) -> Transform:
  """The same numbers in the same order in another shape."""
  return Transform(lambda a: a.reshape(ours), lambda a: a.reshape(theirs))


def reverse(axis: int) -> Transform:
  """The opposite order along an axis."""
  return Transform(lambda a: np.flip(a, axis), lambda a: np.flip(a, axis))


def patch_channels(channels: int, patch_size: int) -> Transform:
  """The last axis, a patch: (channels, rows, columns) ↔ (rows, columns, channels)."""
  def swap(a, shape):
    return a.reshape(*a.shape[:-1], *shape).swapaxes(-1, -2).reshape(a.shape)

  area = patch_size ** 2
  return Transform(lambda a: swap(a, (channels, area)), lambda a: swap(a, (area, channels)))


def chain(*transforms: Transform) -> Transform:
  """Theirs → ours by each transform in turn, and back in the opposite order."""
  return Transform(
      lambda a: functools.reduce(lambda b, each: each.forward(b), transforms, a),
      lambda a: functools.reduce(lambda b, each: each.backward(b), reversed(transforms), a))
