"""The mapping between the tensors of a file and the leaves of a parameter tree.

Each entry maps one piece of one source tensor to one piece of one target leaf, by an
invertible transform, so that the same entries convert in both directions. A mapping must be
complete: every source tensor is used in full or ignored with a reason, and every target leaf
is filled in full.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from ntm.conversion.shapes import Shapes
from ntm.conversion.transforms import KEEP, Transform

_ENDS = 5  # Lines that a report keeps at its start and at its end.


@dataclasses.dataclass(frozen=True)
class Entry:
  """One piece of a source tensor that is one piece of a target leaf.

  Attributes:
    source: tensor name; "{i}" stands for the layer of a stacked leaf.
    target: path of the leaf, keys joined by "/".
    transform: between the two pieces.
    rows: (start, stop) of the source's first axis, for a tensor that feeds several leaves;
      None is all of it.
    layers: length of the target's first axis, filled by one source per layer; 0 if the leaf
      is not stacked.
  """

  source: str
  target: str
  transform: Transform = KEEP
  rows: tuple[int, int] | None = None
  layers: int = 0

  def pieces(self) -> list[tuple[str, int | None]]:
    """(source name, index in the target's first axis or None) of every piece."""
    if not self.layers:
      return [(self.source, None)]
    return [(self.source.replace("{i}", str(i)), i) for i in range(self.layers)]


def check(entries: list[Entry], source_shapes: Shapes, target_shapes: Shapes,
          ignored: Mapping[str, str]) -> None:
  """Checks that a mapping is complete; `ignored` has the reason per source tensor not used.

  Raises:
    ValueError: lists tensors that are missing, surplus, used in part or of a shape that the
      mapping does not give, and leaves that are unfilled, unknown or of another shape. A long
      list is cut in its middle.
  """
  used = {source for entry in entries for source, _ in entry.pieces()}
  problems = [f"used and ignored: {source}" for source in sorted(used & set(ignored))]
  rows_used, filled = {}, {}
  for entry in entries:
    for source, index in entry.pieces():
      filled.setdefault(entry.target, []).append(index)
      if source not in source_shapes:
        problems.append(f"missing in the file: {source} (for {entry.target})")
        continue
      shape = source_shapes[source]
      start, stop = entry.rows or _all_rows(shape)
      rows_used.setdefault(source, []).append((start, stop))
      if entry.target in target_shapes:
        target = target_shapes[entry.target]
        problem = _mismatch(entry.transform, (stop - start, *shape[1:]) if shape else (),
                            target if index is None else target[1:])
        if problem:
          problems.append(f"{source} {list(shape)} does not fit {entry.target} {list(target)}: "
                          f"{problem}")
  for source, shape in source_shapes.items():
    if source not in rows_used and source not in ignored:
      problems.append(f"surplus in the file: {source} {list(shape)}")
    elif source not in ignored and not _partition(rows_used[source], _all_rows(shape)):
      problems.append(f"{source} {list(shape)}: rows {sorted(rows_used[source])} are used, "
                      "not each once")
  for target, shape in target_shapes.items():
    if target not in filled:
      problems.append(f"not filled: {target} {list(shape)}")
    elif filled[target] not in ([None], list(range(shape[0] if shape else 0))):
      problems.append(f"filled in part or twice: {target} {list(shape)}")
  problems += [f"no such leaf: {target}" for target in filled if target not in target_shapes]
  if len(problems) > 2 * _ENDS:  # Both sides stay: missing ones come first, surplus ones last.
    problems[_ENDS:-_ENDS] = [f"... and {len(problems) - 2 * _ENDS} more ..."]
  if problems:
    raise ValueError("the file and the model do not match:\n  " + "\n  ".join(problems))


def read_pieces(entry: Entry, tensor: Callable[[str], np.ndarray]
                ) -> Iterator[tuple[int | None, np.ndarray]]:
  """Yields (index in the leaf's first axis or None, array) of one leaf, read one at a time.

  `tensor` is source name → array. An array may be a view in another memory order.
  """
  rows = slice(*entry.rows) if entry.rows else ...
  for source, index in entry.pieces():
    # The array has no name here, or it would be held while the next one is read.
    yield index, entry.transform.forward(tensor(source)[rows])


def write(entries: list[Entry], leaf: Callable[[str], np.ndarray]
          ) -> Iterator[tuple[str, np.ndarray]]:
  """Yields (source name, array) of the source tensors, made from the leaves one at a time.

  `leaf` is path → array, or for a stacked leaf anything that gives its rows by index.
  """
  by_source = {}
  for entry in entries:
    for source, index in entry.pieces():
      by_source.setdefault(source, []).append((entry.rows or (0, 0), entry, index))
  for source, parts in by_source.items():
    arrays = []
    for _, entry, index in sorted(parts, key=lambda part: part[0]):
      array = leaf(entry.target)
      arrays.append(entry.transform.backward(array if index is None else array[index]))
    fused = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    yield source, np.asarray(fused, order="C")


def _all_rows(shape):
  return 0, shape[0] if shape else 1


def _partition(ranges, whole):
  """Whether the ranges fill the whole range without gap or overlap."""
  start, stop = whole
  for first, last in sorted(ranges):
    if first != start:
      return False
    start = last
  return start == stop


def _mismatch(transform: Transform, piece: tuple[int, ...], expected: tuple[int, ...]) -> str:
  """Why a piece of a source does not become the expected shape; '' if it does."""
  if math.prod(piece) != math.prod(expected):
    return f"{math.prod(piece)} numbers for {math.prod(expected)}"
  # Arrays of one number. Both ways, because a reshape takes any shape of the same size.
  probe = lambda shape: np.broadcast_to(np.zeros((), np.bool_), shape)
  try:
    ours, theirs = transform.forward(probe(piece)).shape, transform.backward(probe(expected)).shape
  except (ValueError, IndexError) as error:
    return str(error)
  if ours != tuple(expected):
    return f"the transform gives {list(ours)}"
  return "" if theirs == tuple(piece) else f"it must be {list(theirs)}"
