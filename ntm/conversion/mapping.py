"""Tables between the tensors of a file and the leaves of a parameter tree.

A family of checkpoints is described by entries, each one piece of one source
tensor that is one piece of one target leaf, with an invertible transform
between them. The same table is read in both directions. It is applied
strictly: every source tensor is used in full or ignored with a reason, and
every target leaf is filled in full.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

Shapes = Mapping[str, tuple[int, ...]]
_ENDS = 5  # Lines that a report keeps at its start and at its end.


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


def linear(*outputs: int) -> Transform:
  """A PyTorch weight [out, in] ↔ a kernel [in, *outputs]; no outputs: [in, out]."""
  return Transform(
      lambda a: a.T.reshape(-1, *outputs) if outputs else a.T,
      lambda a: a.reshape(a.shape[0], -1).T)


def linear_from(*inputs: int) -> Transform:
  """A PyTorch weight [out, prod(inputs)] ↔ a kernel [*inputs, out]."""
  return Transform(lambda a: a.T.reshape(*inputs, -1),
                   lambda a: a.reshape(-1, a.shape[-1]).T)


def reshape(theirs: tuple[int, ...], ours: tuple[int, ...]) -> Transform:
  """The same numbers in the same order under another shape."""
  return Transform(lambda a: a.reshape(ours), lambda a: a.reshape(theirs))


@dataclasses.dataclass(frozen=True)
class Entry:
  """One piece of a source tensor that is one piece of a target leaf.

  Attributes:
    source: tensor name; "{i}" stands for the layer of a stacked leaf.
    target: path of the leaf, keys joined by "/".
    transform: between the two pieces.
    rows: (start, stop) of the source's first axis, for a tensor that feeds
      several leaves; None is all of it.
    layers: length of the target's first axis, filled by one source a layer; 0
      if the leaf is not stacked.
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


@dataclasses.dataclass(frozen=True)
class Family:
  """Everything the engine knows of one kind of checkpoint.

  Attributes:
    name: as `ntm convert --family` calls it.
    recognise: shapes of the tensors of a file → the architecture, JSON values,
      or None if the file is not of this family.
    entries: architecture → its table.
    target_shapes: architecture → shapes of all target leaves by path.
    ignored: architecture → reasons by name of source tensors that are not read.
    run: architecture → the config of a run whose averaged parameters these are,
      so that it samples and can be finetuned, or None if no run has these
      sizes; None if the family has no such.
    prefix: path in that run's parameters under which the leaves lie.
  """

  name: str
  recognise: Callable[[Shapes], dict[str, Any] | None]
  entries: Callable[[dict[str, Any]], list[Entry]]
  target_shapes: Callable[[dict[str, Any]], Shapes]
  ignored: Callable[[dict[str, Any]], Mapping[str, str]] = lambda architecture: {}
  run: Callable[[dict[str, Any]], dict[str, Any] | None] | None = None
  prefix: str = ""


def check(entries: list[Entry], source_shapes: Shapes, target_shapes: Shapes,
          ignored: Mapping[str, str]) -> None:
  """Applies a table to shapes alone.

  Args:
    entries: the table.
    source_shapes: of the tensors in the file.
    target_shapes: of the leaves to fill.
    ignored: source tensors left out, with the reason.

  Raises:
    ValueError: a report of both sides: tensors missing, surplus, used in part,
      of a shape the table does not give; leaves unfilled, unknown, or of
      another shape. Of a long one the first and the last lines.
  """
  problems, rows_used, filled = [], {}, {}
  used_and_ignored = {source for entry in entries for source, _ in entry.pieces()} & set(ignored)
  problems += [f"used and ignored: {source}" for source in sorted(used_and_ignored)]
  for entry in entries:
    for source, index in entry.pieces():
      filled.setdefault(entry.target, []).append(index)
      if source not in source_shapes:
        problems.append(f"missing in the file: {source} (for {entry.target})")
        continue
      shape = source_shapes[source]
      start, stop = entry.rows or _all_rows(shape)
      rows_used.setdefault(source, []).append((start, stop))
      piece = (stop - start, *shape[1:]) if shape else ()
      if entry.target in target_shapes:
        expected = target_shapes[entry.target][0 if index is None else 1:]
        problem = _misfit(entry.transform, piece, expected)
        if problem:
          problems.append(f"{source} {list(shape)} does not fit {entry.target} "
                          f"{list(target_shapes[entry.target])}: {problem}")
  for source, shape in source_shapes.items():
    if source in ignored:
      continue
    if source not in rows_used:
      problems.append(f"surplus in the file: {source} {list(shape)}")
    elif not _covers(rows_used[source], _all_rows(shape)):
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
  """The pieces of one leaf, one at a time, so that a stacked leaf is never held whole.

  Args:
    entry: of the leaf.
    tensor: source name → array.

  Yields:
    (index in the leaf's first axis or None, array, maybe a view in another memory order).
  """
  rows = slice(*entry.rows) if entry.rows else ...
  for source, index in entry.pieces():
    # No name for the array: it would live while the next one is read.
    yield index, entry.transform.forward(tensor(source)[rows])


def read(entries: list[Entry], tensor: Callable[[str], np.ndarray], target: str) -> np.ndarray:
  """One target leaf from the tensors that make it.

  Args:
    entries: the table.
    tensor: source name → array.
    target: path of the leaf.
  """
  (entry,) = (entry for entry in entries if entry.target == target)
  pieces = [piece for _, piece in read_pieces(entry, tensor)]
  return np.stack(pieces) if entry.layers else np.asarray(pieces[0], order="C")


def write(entries: list[Entry], leaf: Callable[[str], np.ndarray]
          ) -> Iterator[tuple[str, np.ndarray]]:
  """The source tensors from the leaves: the way back, tensor by tensor.

  Args:
    entries: the table.
    leaf: path → array, or for a stacked leaf anything that gives one by index.

  Yields:
    (source name, array), parts of one tensor joined along its first axis.
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
    joined = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    yield source, np.asarray(joined, order="C")


def sizes(shapes: Shapes, name: str, axes: int) -> tuple[int, ...]:
  """The shape of a tensor that tells the architecture.

  Raises:
    ValueError: it has another number of axes.
  """
  if len(shapes[name]) != axes:
    raise ValueError(f"{name} has shape {list(shapes[name])}; expected {axes} axes")
  return shapes[name]


def _all_rows(shape):
  return 0, shape[0] if shape else 1


def _covers(ranges, whole):
  """Whether the ranges, put in order, fill the whole without gap or overlap."""
  end = whole[0]
  for start, stop in sorted(ranges):
    if start != end:
      return False
    end = stop
  return end == whole[1]


def _misfit(transform: Transform, piece: tuple[int, ...], expected: tuple[int, ...]) -> str:
  """Why a piece does not become the expected shape, or ''."""
  if math.prod(piece) != math.prod(expected):
    return f"{math.prod(piece)} numbers for {math.prod(expected)}"
  # Arrays of one number. Both ways: a reshape takes any shape of the same size.
  probe = lambda shape: np.broadcast_to(np.zeros((), np.bool_), shape)
  try:
    got, back = transform.forward(probe(piece)).shape, transform.backward(probe(expected)).shape
  except (ValueError, IndexError) as error:
    return str(error)
  wrong = "" if got == tuple(expected) else f"the transform gives {list(got)}"
  return wrong or ("" if back == tuple(piece) else f"it must be {list(back)}")
