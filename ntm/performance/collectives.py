"""Bytes that a compiled program exchanges between devices, by kind of collective.

XLA's own cost analysis does not report them and counts the body of a loop once. They
are read from the text of the compiled program, in which a scan is a `while` whose
condition compares a counter with a constant.
"""

import math
import re
from collections import Counter
from typing import NamedTuple

import numpy as np

_ITEM_BYTES = {"pred": 1, "s4": 0.5, "u4": 0.5, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "f64": 8,
               "s64": 8, "u64": 8, "c64": 8, "c128": 16}
_KINDS = ("all-gather", "all-reduce", "all-to-all", "collective-permute", "reduce-scatter")
_COMPUTATION = re.compile(r"^(ENTRY )?(%[^\s(]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?(%\S+) = (.*?) ([a-z][a-z0-9-]*)\((.*)$")
_ARRAY = re.compile(r"\b([a-z]+[0-9]*)\[([0-9,]*)\]")
_ALL = "replica_groups={}"  # Of all devices.
_LISTED = re.compile(r"(?:replica_groups|source_target_pairs)=\{(\{[0-9,{}]*)\}")
_ROWS = re.compile(r"replica_groups=\[([0-9,]+)\]<=\[([0-9,]+)\](?:T\(([0-9,]+)\))?")
_MESH = re.compile(r"replica_groups=mesh\[([^\]]*)\]"
                   r"(?:, device_ids=\(\[([0-9,]+)\](?:T\(([0-9,]+)\))?\))? \{([^}]*)\}")
_CALLED = re.compile(r"(?:calls|to_apply|body|true_computation|false_computation)=(%[^\s,)]+)"
                     r"|branch_computations=\{([^}]*)\}")


class _Instruction(NamedTuple):
  """`name = type opcode(rest`, the rest being operands and attributes."""

  name: str
  type: str
  opcode: str
  rest: str

  @property
  def operands(self) -> list[str]:
    """Names, in order."""
    return re.findall(r"%[^\s,)]+", self.rest.split("), ")[0])

  @property
  def called(self) -> list[str]:
    """Computations that it runs."""
    return [name for one, several in _CALLED.findall(self.rest)
            for name in ([one] if one else re.findall(r"%[^\s,]+", several))]


def collective_bytes(text: str) -> dict[str, int]:
  """Bytes of one run of a program on one device, by kind of collective.

  Counted are the results of a collective; for a reduce-scatter, its operands.

  Args:
    text: of a compiled program, `jax.stages.Compiled.as_text()`.

  Raises:
    ValueError: a text without an entry computation.
  """
  return _total(text, lambda i: True)


def crossing_bytes(text: str, size: int) -> dict[str, int]:
  """As `collective_bytes`, of collectives that leave a slice.

  Args:
    text: of a compiled program.
    size: devices per slice; the program's devices are in order of their slices.
  """
  return _total(text, lambda i: any(
      len({n // size for n in group}) > 1 for group in _groups(i)) or _ALL in i.rest)


def _total(text, counts) -> dict[str, int]:
  """Bytes by kind of the collectives that count."""
  computations, entry = _parse(text)
  total = Counter()
  for name, times in _runs(computations, entry).items():
    types = {i.name: i.type for i in computations[name]}
    for i in computations[name]:
      kind = i.opcode.removesuffix("-start")
      if kind in _KINDS and counts(i):
        arrays = " ".join(types.get(name, "") for name in i.operands)
        total[kind] += times * _bytes(arrays if kind == "reduce-scatter" else _result(i))
  return {kind: round(n) for kind, n in sorted(total.items())}


def _groups(i) -> list[list[int]]:
  """The devices that exchange with each other; empty for `_ALL`.

  Written as a list, {{0,1},{2,3}}; as rows of numbers in order, [2,2]<=[4], or of a transposed
  array, [2,2]<=[2,2]T(1,0); or as axes of a mesh, mesh['a'=2,'b'=4] {'a','b':(1)2}, of which the
  last is the part of size 2 of axis b that has 1 element before it, the devices in order or as
  device_ids=([2,4]T(1,0)) says.
  """
  numbers = lambda text: [int(n) for n in re.findall(r"\d+", text or "")]
  if _ALL in i.rest:
    return []
  if found := _LISTED.search(i.rest):
    return [numbers(group) for group in re.findall(r"[0-9,]+(?=\})", found[1])]
  if found := _ROWS.search(i.rest):
    return _devices(numbers(found[2]), numbers(found[3])).reshape(numbers(found[1])).tolist()
  if not (found := _MESH.search(i.rest)):
    raise ValueError(f"{i.name} has no groups of devices that can be read: {i.rest:.300}")
  axes = {name: int(size) for name, size in re.findall(r"('[^']+')=(\d+)", found[1])}
  devices = _devices(numbers(found[2]) or [math.prod(axes.values())], numbers(found[3]))
  sizes, exchanging = [], []
  for name, size in axes.items():
    # Parts (elements before, size) of the axis that exchange with each other.
    parts = [(int(before or 1), int(part or size)) for axis, before, part in re.findall(
        r"('[^']+')(?::\((\d+)\)(\d+))?", found[4]) if axis == name]
    done = 1
    for before, part in sorted(parts):
      exchanging.append(len(sizes) + 1)
      sizes += [before // done, part]
      done = before * part
    sizes.append(size // done)
  inner = math.prod(sizes[k] for k in exchanging)
  return np.moveaxis(devices.reshape(sizes), exchanging, range(-len(exchanging), 0)).reshape(
      -1, inner).tolist()


def _devices(shape, axes):
  """Numbers in order, as an array that is transposed if there are axes."""
  return np.arange(math.prod(shape)).reshape(shape).transpose(axes or range(len(shape)))


def _parse(text):
  """({computation: its instructions}, name of the entry)."""
  computations, entry, current = {}, None, None
  for line in text.splitlines():
    if header := _COMPUTATION.match(line):
      current = computations.setdefault(header[2], [])
      entry = header[2] if header[1] else entry
    elif found := _INSTRUCTION.match(line):
      current.append(_Instruction(*found.groups()))
  if entry is None:
    raise ValueError("the text has no ENTRY computation; expected that of a compiled program.")
  return computations, entry


def _runs(computations, entry):
  """How often every computation runs."""
  times = Counter()

  def visit(name, count):
    times[name] += count
    for i in computations[name]:
      # Reductions and comparators contain no collectives.
      if i.opcode in ("while", "conditional", "call", "fusion") or i.opcode.startswith("async"):
        for called in i.called:
          visit(called, count * (_trips(i, computations) if i.opcode == "while" else 1))

  visit(entry, 1)
  return times


def _trips(loop, computations) -> int:
  """Iterations of a loop: the constant that its condition compares with, or 1 if it has none."""
  condition = computations[re.search(r"condition=(%[^\s,)]+)", loop.rest)[1]]
  constants = {i.name: int(i.rest.split(")")[0]) for i in condition
               if i.opcode == "constant" and re.match(r"-?\d+\)", i.rest)}
  return max((constants[name] for i in condition if i.opcode in ("compare", "fusion")
              for name in i.operands if name in constants), default=1)


def _result(i) -> str:
  """The type of the result; most collectives that only start list their operands before it."""
  if not i.opcode.endswith("-start") or i.opcode == "all-reduce-start":
    return i.type
  arrays = [found[0] for found in _ARRAY.finditer(i.type) if found[0] != "u32[]"]
  return " ".join(arrays[len(arrays) // 2:])


def _bytes(types: str) -> float:
  """Bytes of all arrays in a type."""
  return sum(_ITEM_BYTES.get(item, 4 if item.endswith("32") else 1)
             * math.prod(int(n) for n in sizes.split(",") if n)
             for item, sizes in _ARRAY.findall(types))
