"""Bytes that a compiled program exchanges between devices, by kind of collective.

XLA's own cost analysis does not report them. They are read from the text of the compiled
program, `ntm.performance.hlo`, in which a TPU's compiler repeats some: see `hlo.continues`. For
what TPUs send from one slice to another it has a pair of `send` and `recv` in place of a
collective, of each device with those at its place in the other slices, after the slice has done
its own part.
"""

import dataclasses
import math
import re
from collections import Counter

import numpy as np

from ntm.performance import hlo

_KINDS = ("all-gather", "all-reduce", "all-to-all", "collective-permute", "reduce-scatter")
_ALL = "replica_groups={}"  # Of all devices.
_BETWEEN_SLICES = re.compile(r'_xla_megascale_transfer_type="([A-Z_]+)"')
_LISTED = re.compile(r"(?:replica_groups|source_target_pairs)=\{(\{[0-9,{}]*)\}")
_ROWS = re.compile(r"replica_groups=\[([0-9,]+)\]<=\[([0-9,]+)\](?:T\(([0-9,]+)\))?")
_MESH = re.compile(r"replica_groups=mesh\[([^\]]*)\]"
                   r"(?:, device_ids=\(\[([0-9,]+)\](?:T\(([0-9,]+)\))?\))? \{([^}]*)\}")


@dataclasses.dataclass(frozen=True)
class Collective:
  """One instruction that exchanges data between devices.

  Attributes:
    kind: 'all-gather', 'all-reduce', 'all-to-all', 'collective-permute' or 'reduce-scatter'.
    bytes: of all its runs on one device: of the results; for a reduce-scatter, of the operands.
    instruction: in the text.
    between_slices: whether a TPU's runtime does it, with the devices at the same place of other
      slices; it has no groups.
  """

  kind: str
  bytes: float
  instruction: hlo.Instruction
  between_slices: bool = False

  @property
  def groups(self) -> list[list[int]]:
    """Devices that exchange with each other, as positions in the mesh; empty for all of them.

    Raises:
      ValueError: a notation that is not known.
    """
    return _groups(self.instruction)


def of_program(program: hlo.Program) -> list[Collective]:
  """All collectives of a program."""
  found, outside = [], program.runs(fused=False)
  for name, times in program.runs().items():
    types = {i.name: i.type for i in program.computations[name]}
    for i in program.computations[name]:
      if i.opcode in ("send", "recv"):
        found += _between_slices(i, times)
        continue
      kind = i.opcode.removesuffix("-start")
      if kind not in _KINDS or hlo.continues(i, program.computations[name]):
        continue
      if (kind == "all-reduce" and name not in outside
          and _is_scattered(i, program.computations[name])):
        kind = "reduce-scatter"
      read = " ".join(types.get(name, "") for name in i.operands)
      found.append(Collective(
          kind, times * hlo.num_bytes(read if kind == "reduce-scatter" else i.result), i))
  return found


def collective_bytes(text: str) -> dict[str, int]:
  """Bytes of one run of a program on one device, by kind of collective.

  Counted are the results of a collective; for a reduce-scatter, its operands.

  Args:
    text: of a compiled program, `jax.stages.Compiled.as_text()`.

  Raises:
    ValueError: a text without an entry computation.
  """
  return _total(of_program(hlo.parse(text)))


def crossing_bytes(text: str, size: int) -> dict[str, int]:
  """As `collective_bytes`, of collectives that leave a slice.

  Args:
    text: of a compiled program.
    size: devices per slice; the program's devices are in order of their slices.
  """
  return _total([c for c in of_program(hlo.parse(text))
                 if c.between_slices or _ALL in c.instruction.rest
                 or any(len({n // size for n in group}) > 1 for group in c.groups)])


def _between_slices(i, times) -> list[Collective]:
  """What one of a pair of `send` and `recv` stands for, so that each transfer counts once."""
  if not (transfer := _BETWEEN_SLICES.search(i.rest)):
    return []
  kind = transfer[1].lower().replace("_", "-").replace("one-to-one", "collective-permute")
  if i.opcode != ("send" if kind == "reduce-scatter" else "recv"):
    return []
  data = i.type.split(", u32[]")[0]  # Then come a context and a token.
  return [Collective(kind, times * hlo.num_bytes(data), i, between_slices=True)]


def _total(collectives) -> dict[str, int]:
  """Bytes by kind."""
  total = Counter()
  for c in collectives:
    total[c.kind] += c.bytes
  return {kind: round(n) for kind, n in sorted(total.items())}


def _is_scattered(reduce, computation) -> bool:
  """Whether only parts of the sum are kept: a TPU's reduce-scatter is a fusion of both."""
  sums, found = {reduce.name}, False
  for i in computation:
    if sums.intersection(i.operands):
      if i.opcode in ("get-tuple-element", "bitcast"):
        sums.add(i.name)
      elif i.opcode == "dynamic-slice":
        found = True
      else:
        return False
  return found


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
