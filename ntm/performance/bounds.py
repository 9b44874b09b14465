"""The least time of a program: arithmetic, memory, links and network, each at its peak.

With full overlap the slowest of them bounds it, without any their sum does. Real programs are in
between, and above: no part reaches its peak.
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping

from ntm.performance.accelerators import Chip
from ntm.performance.interconnect import Exchange


@dataclasses.dataclass(frozen=True)
class Bound:
  """Seconds that a chip needs at least.

  Attributes:
    compute: for matrix products.
    memory: for its HBM.
    interconnect: for its links, as `overlapped` has it: those of different dimensions of the
      torus work at once.
    network: for the network between slices; 0 if its bandwidth is not known.
    one_by_one: for its links if one collective follows the other.
  """

  compute: float
  memory: float
  interconnect: float
  network: float
  one_by_one: float

  @property
  def parts(self) -> dict[str, float]:
    """Seconds by what takes them."""
    return {"compute": self.compute, "memory": self.memory, "interconnect": self.interconnect,
            "network": self.network}

  @property
  def overlapped(self) -> float:
    """Seconds if all parts work at once: the longest of them."""
    return max(self.parts.values())

  @property
  def serial(self) -> float:
    """Seconds if each part waits for the others: the sum."""
    return self.compute + self.memory + self.one_by_one + self.network


def of_chip(chip: Chip, flops: float, memory_bytes: float,
            exchanges: Mapping[str, Exchange]) -> Bound:
  """The bound of one run.

  Args:
    chip: every one, doing the same.
    flops: executed by a chip, padding included.
    memory_bytes: read and written by a chip.
    exchanges: what a chip sends, by axes of the mesh.
  """
  seconds, by_dim = {axes: e.seconds(chip) for axes, e in exchanges.items()}, Counter()
  for axes, exchange in exchanges.items():
    for dim in exchange.torus_dims or (None,):
      by_dim[dim] += seconds[axes]
  sent = sum(e.network_bytes for e in exchanges.values())
  return Bound(
      flops / chip.peak_flops, memory_bytes / chip.hbm_bandwidth, max(by_dim.values(), default=0),
      sent / chip.network_bandwidth if chip.network_bandwidth else 0, sum(seconds.values()))
