"""The text of a compiled program: its instructions, and how often each of them runs.

XLA's own cost analysis counts the body of a loop once. In the text a scan is a `while` whose
condition compares a counter with a constant.
"""

import dataclasses
import math
import re
from collections import Counter
from typing import NamedTuple

_ITEM_BYTES = {"pred": 1, "s4": 0.5, "u4": 0.5, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "f64": 8,
               "s64": 8, "u64": 8, "c64": 8, "c128": 16}
_COMPUTATION = re.compile(r"^(ENTRY )?(%[^\s(]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?(%\S+) = (.*?) ([a-z][a-z0-9-]*)\((.*)$")
_ARRAY = re.compile(r"\b([a-z][a-z0-9]*)\[([0-9,]*)\](?:\{([^{}]*)\})?")
_CALLED = re.compile(r"(?:calls|to_apply|body|true_computation|false_computation)=(%[^\s,)]+)"
                     r"|branch_computations=\{([^}]*)\}")


class Array(NamedTuple):
  """One array of a type.

  Attributes:
    bytes: without the padding of a tiled layout.
    in_memory: in the device's main memory, rather than in a memory of the chip or of the host.
  """

  bytes: float
  in_memory: bool


class Instruction(NamedTuple):
  """`name = type opcode(rest`, the rest being operands and attributes."""

  is_root: bool
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

  @property
  def result(self) -> str:
    """The type of the result: what only starts lists its operands before it, a copy after it."""
    if not self.opcode.endswith("-start") or self.opcode == "all-reduce-start":
      return self.type
    found = [a[0] for a in _ARRAY.finditer(self.type) if not a[0].startswith(("u32[]", "s32[]"))]
    half = len(found) // 2
    return " ".join(found[:half] if self.opcode == "copy-start" else found[half:])


@dataclasses.dataclass(frozen=True)
class Program:
  """A compiled program.

  Attributes:
    computations: their instructions, in order.
    entry: the name of the one that runs first.
  """

  computations: dict[str, list[Instruction]]
  entry: str

  def runs(self, fused: bool = True) -> Counter:
    """How often every computation runs; every branch of a conditional counts.

    Args:
      fused: count those within fusions too.
    """
    times = Counter()

    def visit(name, count):
      times[name] += count
      for i in self.computations[name]:
        # Reductions and comparators contain neither collectives nor loops.
        if (i.opcode in ("while", "conditional", "call") or i.opcode.startswith("async")
            or (fused and i.opcode == "fusion")):
          for called in i.called:
            visit(called, count * (self._trips(i) if i.opcode == "while" else 1))

    visit(self.entry, 1)
    return times

  def _trips(self, loop) -> int:
    """Iterations: the constant that the condition compares with, or 1 if it has none."""
    condition = self.computations[re.search(r"condition=(%[^\s,)]+)", loop.rest)[1]]
    constants = {i.name: int(i.rest.split(")")[0]) for i in condition
                 if i.opcode == "constant" and re.match(r"-?\d+\)", i.rest)}
    return max((constants[name] for i in condition if i.opcode in ("compare", "fusion")
                for name in i.operands if name in constants), default=1)


def parse(text: str) -> Program:
  """Reads the text of a compiled program, `jax.stages.Compiled.as_text()`.

  Raises:
    ValueError: a text without an entry computation.
  """
  computations, entry, current = {}, None, None
  for line in text.splitlines():
    if header := _COMPUTATION.match(line):
      current = computations.setdefault(header[2], [])
      entry = header[2] if header[1] else entry
    elif found := _INSTRUCTION.match(line):
      current.append(Instruction(bool(found[1]), *found.groups()[1:]))
  if entry is None:
    raise ValueError("the text has no ENTRY computation; expected that of a compiled program.")
  return Program(computations, entry)


def continues(collective: Instruction, computation: list[Instruction]) -> bool:
  """Whether a collective goes on with what another fusion has started.

  A TPU's compiler spreads one over several fusions, which do other work in between, and repeats
  the instruction in each of them: the first one, some in the middle, and the one that waits.

  Args:
    collective: the instruction.
    computation: that it is in.
  """
  return "chain_id=" in collective.rest and not any(
      '"AsyncCollectiveStart"' in i.rest for i in computation)


def arrays(types: str) -> list[Array]:
  """All arrays in a type, in order."""
  return [Array(_ITEM_BYTES.get(item, 4 if item.endswith("32") else 1)
                * math.prod(int(n) for n in sizes.split(",") if n),
                not re.search(r"S\([1-9]\d*\)", layout))
          for item, sizes, layout in _ARRAY.findall(types)]


def num_bytes(types: str) -> float:
  """Bytes of all arrays in a type."""
  return sum(a.bytes for a in arrays(types))
