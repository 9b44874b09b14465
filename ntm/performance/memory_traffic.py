"""Bytes that a compiled program reads from and writes to the memory of its device.

`compiled.cost_analysis()["bytes accessed"]` counts the body of a loop once, and on a TPU also
what never leaves the chip. They are therefore read from the text of the program. Every
instruction reads its operands and writes its result once, as often as it runs:

- A fusion is one instruction. Of an operand that it only slices it reads the slices; of an array
  that it updates in place, such as one layer of a stack, it writes the update.
- Arrays in other memories than the main one, marked S(1) and so on in a layout, count nothing:
  a TPU's compiler keeps what fits in the memory of the chip.
- A collective that is spread over several fusions counts with the first of them.
- Tuples, bitcasts and the halves `-done` of asynchronous instructions move nothing.

It is the least that these instructions can move. Not counted: the padding of tiled layouts,
operands that a product reads again for every block of its result, what a custom call (splash
attention) moves within, spills, and transfers to the host. A CPU's compiler knows no memory of
the chip, so that caches save part of its count.
"""

import functools
import re

from ntm.performance import hlo

_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional",
         "call", "after-all", "opt-barrier", "partition-id", "replica-id"}
_ASYNC = re.compile(r'"AsyncCollective(Start|Done)"')
_SLICES = ("dynamic-slice", "slice", "slice-start", "gather")


def traffic_bytes(text: str) -> int:
  """Bytes of one run of a program on one device, read and written.

  Args:
    text: of a compiled program, `jax.stages.Compiled.as_text()`.

  Raises:
    ValueError: a text without an entry computation.
  """
  program = hlo.parse(text)
  fusions = _Fusions(program)
  total = 0
  for name, times in program.runs(fused=False).items():
    types = {i.name: i.type for i in program.computations[name]}
    total += times * sum(_moved(i, types, fusions) for i in program.computations[name])
  return round(total)


def state_bytes(text: str) -> int:
  """Bytes of the arguments and results of a program on one device, once each.

  Args:
    text: of a compiled program, `jax.stages.Compiled.as_text()`.
  """
  program = hlo.parse(text)
  return round(sum(hlo.num_bytes(i.type) * ((i.opcode == "parameter") + i.is_root)
                   for i in program.computations[program.entry]))


def _moved(i, types, fusions) -> float:
  """Bytes that one run of an instruction reads and writes."""
  if (i.opcode in _FREE or i.opcode.startswith("async") or i.opcode.endswith("-done")
      or "AllocateBuffer" in i.rest):
    return 0
  operands = [types.get(name, "") for name in i.operands]
  read, written = [_in_memory(t) for t in operands], _in_memory(i.result)
  if i.opcode == "fusion":
    called = i.called[0]
    read = [min(whole, fusions.read(called, k)) for k, whole in enumerate(read)]
    written = min(written, fusions.written(called))
  elif i.opcode in _SLICES:
    read[0] = min(read[0], hlo.num_bytes(i.result))
  elif i.opcode == "dynamic-update-slice":
    read[0], written = 0, min(written, hlo.num_bytes(operands[1]))
  return sum(read) + written


def _in_memory(types: str) -> float:
  return sum(a.bytes for a in hlo.arrays(types) if a.in_memory)


class _Fusions:
  """What fused computations read and write, no matter in which memory."""

  def __init__(self, program: hlo.Program):
    self._computations = program.computations
    self.read, self.written = functools.cache(self._read), functools.cache(self._written)

  def _read(self, name, index) -> float:
    """Bytes of its operand `index`."""
    computation = self._computations[name]
    source = next(i for i in computation
                  if i.opcode == "parameter" and i.rest.startswith(f"{index})"))
    whole, names, total = hlo.num_bytes(source.type), {source.name}, 0
    for i in computation:
      for place, operand in enumerate(i.operands):
        if operand not in names:
          continue
        if i.opcode == "bitcast":
          names.add(i.name)
        elif i.opcode in _SLICES and place == 0:
          total += hlo.num_bytes(i.type)
        elif i.opcode == "fusion":
          total += self.read(i.called[0], place)
        elif i.is_root and i.opcode == "tuple" or _ASYNC.search(i.rest):
          pass  # Handed on in place.
        elif hlo.continues(i, computation):
          pass
        elif i.opcode != "dynamic-update-slice" or place != 0:
          return whole
    return min(whole, total)

  def _written(self, name) -> float:
    """Bytes of its result."""
    by_name = {i.name: i for i in self._computations[name]}
    root = next(i for i in by_name.values() if i.is_root)
    outputs = [by_name[name] for name in root.operands] if root.opcode == "tuple" else [root]
    return sum(self._output(i, by_name) for i in outputs)

  def _output(self, i, by_name) -> float:
    while i.opcode == "bitcast" or '"AsyncCollectiveStart"' in i.rest:
      i = by_name[i.operands[0]]
    if (i.opcode == "parameter" or _ASYNC.search(i.rest)
        or hlo.continues(i, list(by_name.values()))):
      return 0
    if i.opcode == "dynamic-update-slice":
      return hlo.num_bytes(by_name[i.operands[1]].type)
    if i.opcode == "fusion":
      return self.written(i.called[0])
    return hlo.num_bytes(i.type)
