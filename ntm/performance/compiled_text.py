"""What a compiled program moves: bytes between chips, and to and from memory.

XLA's own cost analysis counts the body of a loop once. This reads the text of
the compiled program and counts it as often as it runs: scans become loops that
compare a counter with a constant.
"""

import dataclasses
import math
import re
from collections import Counter

_ITEM_BYTES = {"pred": 1, "s4": 0.5, "u4": 0.5, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "f64": 8,
               "s64": 8, "u64": 8, "c64": 8, "c128": 16}
_COLLECTIVES = ("all-gather", "all-reduce", "all-to-all", "collective-permute", "reduce-scatter")
# Names of what is elsewhere, or the second half of a pair that was counted.
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional",
         "call", "after-all", "iota", "partition-id", "replica-id", "broadcast"}
_COMPUTATION = re.compile(r"^(ENTRY )?(%[^\s(]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?(%\S+) = (.*?) ([a-z][a-z0-9-]*)\((.*)$")
_ARRAY = re.compile(r"\b([a-z]+[0-9]*)\[([0-9,]*)\](\{[^}]*\})?")
_CALLED = re.compile(r"(?:calls|to_apply|body|true_computation|false_computation)=(%[^\s,)]+)"
                     r"|branch_computations=\{([^}]*)\}")


@dataclasses.dataclass(frozen=True)
class Traffic:
  """Bytes of one run of a program on one device.

  Attributes:
    collectives: of the results of every kind of collective; of a reduce-scatter,
      of what it reduces.
    memory: read and written by the operations outside of on-chip memory, an
      upper estimate: operands count whole unless they are seen to be sliced.
  """

  collectives: dict[str, int]
  memory: int


@dataclasses.dataclass(frozen=True)
class _Instruction:
  name: str
  type: str
  opcode: str
  rest: str
  root: bool

  @property
  def operands(self) -> list[str]:
    """Names, in order."""
    return re.findall(r"%[^\s,)]+", self.rest.split("), ")[0])

  @property
  def called(self) -> list[str]:
    """Computations it runs."""
    return [name for one, several in _CALLED.findall(self.rest)
            for name in ([one] if one else re.findall(r"%[^\s,]+", several))]


def traffic(text: str) -> Traffic:
  """Counts a program.

  Args:
    text: of a compiled program, `jax.stages.Compiled.as_text()`.

  Raises:
    ValueError: a text without an entry computation.
  """
  computations, entry = _parse(text)
  collectives, memory = Counter(), 0.0
  for name, times in _runs(computations, entry).items():
    in_fusion, instructions = times < 0, computations[name]
    types = {i.name: i.type for i in instructions}
    for i in instructions:
      kind = next((k for k in _COLLECTIVES if i.opcode in (k, f"{k}-start")), None)
      if kind:
        arrays = _result(i) if kind != "reduce-scatter" else " ".join(
            types.get(name, "") for name in i.operands)
        collectives[kind] += abs(times) * _bytes(arrays, on_chip=True)
      if not in_fusion and i.opcode not in _FREE and not i.opcode.endswith(("-start", "-done")):
        memory += times * _moved(i, types, computations)
  return Traffic({kind: round(n) for kind, n in sorted(collectives.items())}, round(memory))


def _parse(text):
  """({computation: its instructions}, name of the entry)."""
  computations, entry, current = {}, None, None
  for line in text.splitlines():
    if header := _COMPUTATION.match(line):
      current = computations.setdefault(header[2], [])
      entry = header[2] if header[1] else entry
    elif found := _INSTRUCTION.match(line):
      root, name, kind, opcode, rest = found.groups()
      current.append(_Instruction(name, kind, opcode, rest, bool(root)))
  if entry is None:
    raise ValueError("the text has no ENTRY computation; expected that of a compiled program.")
  return computations, entry


def _runs(computations, entry):
  """How often every computation runs; negative inside a fusion, which is one operation."""
  times = Counter()

  def visit(name, count, fused):
    times[name] += -count if fused else count
    for i in computations[name]:
      inner = count * _trips(i, computations) if i.opcode == "while" else count
      # What reduces or compares has no collectives and no arrays.
      if i.opcode in ("while", "conditional", "call", "fusion") or i.opcode.startswith("async"):
        for called in i.called:
          visit(called, inner, fused or i.opcode == "fusion")

  visit(entry, 1, False)
  return times


def _trips(loop, computations) -> int:
  """Iterations of a loop: what its condition compares the counter with; 1 if it does not say."""
  condition = computations[re.search(r"condition=(%[^\s,)]+)", loop.rest)[1]]
  constants = {i.name: int(i.rest.split(")")[0]) for i in condition
               if i.opcode == "constant" and re.match(r"-?\d+\)", i.rest)}
  limits = [constants[name] for i in condition if i.opcode in ("compare", "fusion")
            for name in i.operands if name in constants]
  return max(limits, default=1)


def _moved(i, types, computations) -> float:
  """Bytes that an operation reads and writes."""
  if i.opcode == "dynamic-slice":
    return 2 * _bytes(i.type)
  if i.opcode == "dynamic-update-slice":
    return 2 * _bytes(types.get(i.operands[1], ""))
  inside = {}
  if i.opcode == "fusion":
    inside = _slices(computations[i.called[0]])
  read = sum(inside.get(n, _bytes(types.get(name, ""))) for n, name in enumerate(i.operands))
  return read + inside.get("written", _bytes(i.type))


def _slices(instructions):
  """Bytes of the parameters that a fusion reads slices of, and of its result if a slice is written.

  The stacked parameters of a scan, and what its iterations hand over, are
  operands as a whole of which every iteration touches its own part.
  """
  source, types, number, moved = {}, {}, {}, {}
  for i in instructions:
    types[i.name] = i.type
    source[i.name] = i.name
    if i.opcode == "parameter":
      number[i.name] = int(i.rest.split(")")[0])
    elif i.opcode in ("bitcast", "copy", "reshape"):
      source[i.name] = source.get(i.operands[0], i.name)
  for i in instructions:
    for place, name in enumerate(i.operands):
      origin = source.get(name, name)
      if origin not in number or i.opcode in ("bitcast", "copy", "reshape"):
        continue
      if i.opcode == "dynamic-slice" and place == 0:
        touched = _bytes(i.type)
      elif i.opcode == "dynamic-update-slice" and place == 0:
        touched = 0
      else:
        touched = _bytes(types[origin])
      moved[number[origin]] = max(moved.get(number[origin], 0), touched)
  for i in instructions:
    if i.root and i.opcode == "dynamic-update-slice":
      moved["written"] = _bytes(types.get(i.operands[1], ""))
  return moved


def _result(i) -> str:
  """The type of what a collective gives; most that only start list their inputs before it."""
  if not i.opcode.endswith("-start") or i.opcode == "all-reduce-start":
    return i.type
  arrays = [found[0] for found in _ARRAY.finditer(i.type) if not found[0].startswith("u32[]")]
  return " ".join(arrays[len(arrays) // 2:])


def _bytes(kind: str, on_chip: bool = False) -> float:
  """Of all arrays in a type; those in on-chip memory, S(1), if asked for."""
  total = 0.0
  for item, sizes, layout in _ARRAY.findall(kind):
    if on_chip or "S(1)" not in layout:
      total += _ITEM_BYTES.get(item, 4 if item[-2:] == "32" else 1) * math.prod(
          int(n) for n in sizes.split(",") if n)
  return total
