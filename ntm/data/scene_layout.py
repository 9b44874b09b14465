"""Where the things of a scene are: never touching, without a draw that is thrown away."""

from collections.abc import Iterator, Sequence

GAP = 0.03  # Around a thing, in sides of the picture.


def place(radii: Sequence[Sequence[float]], axis: int, numbers: Iterator[float]
          ) -> list[tuple[float, float]]:
  """Centres (row, column), in sides of the picture, of one or two groups of one or two things each.

  The picture is cut across the axis between two groups, the first above or left of the second, and
  each part is cut the other way between two things, anywhere that leaves room for both. A single
  group is cut across the axis.

  Args:
    radii: of the things, by group; twice the sum of the largest of two and their gaps is at most 1.
    axis: 0 for groups above each other, 1 for groups next to each other.
    numbers: uniform in [0, 1), as many as are needed, at most 11.
  """
  return _place(radii, ((0.0, 1.0), (0.0, 1.0)), axis, numbers)


def _place(radii, box, axis, u):
  """`place` within a box ((top, bottom), (left, right))."""
  if len(radii) == 1:
    if len(radii[0]) == 1:
      reach = radii[0][0] + GAP
      return [tuple(low + reach + next(u) * (high - low - 2 * reach) for low, high in box)]
    radii = [[radius] for radius in radii[0]]
  (low, high), (first, second) = box[axis], (2 * (max(group) + GAP) for group in radii)
  cut = low + first + next(u) * (high - low - first - second)
  places = []
  for group, part in zip(radii, ((low, cut), (cut, high))):
    inner = (part, box[1]) if axis == 0 else (box[0], part)
    places += _place([group], inner, 1 - axis, u)
  return places
