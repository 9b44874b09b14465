"""Time that collectives need on the links of a TPU's torus and on the network between slices.

A collective runs along the axes of the mesh on which the members of its groups differ. On a
ring, in both directions at once, a chip that ends with R bytes of m chips sends R (m - 1) / m,
an all-reduce twice as many; the links of several dimensions share them evenly. A chip has two
links per dimension that its group varies in, and one if the ring is not closed: for it is not
wrapped around, or the group is a part of it. What leaves a slice is exchanged after, or before,
the slice has done its own part, so that its m chips send R (s - 1) / (s m) each to s slices.

Groups that share links are taken not to disturb each other, and an all-to-all to need one hop:
both make the time too short rather than too long.
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from ntm.performance import collectives, hlo
from ntm.performance.accelerators import Chip


@dataclasses.dataclass(frozen=True)
class Exchange:
  """What a chip sends along some axes of the mesh in one run of a program.

  Attributes:
    sent_bytes: to chips of its slice.
    link_bytes: of them, over its busiest link.
    links: that they share.
    torus_dims: dimensions of the torus that the links belong to.
    network_bytes: to other slices.
  """

  sent_bytes: float = 0
  link_bytes: float = 0
  links: int = 0
  torus_dims: tuple[int, ...] = ()
  network_bytes: float = 0

  def __add__(self, other: "Exchange") -> "Exchange":
    """Both, one after the other."""
    return Exchange(self.sent_bytes + other.sent_bytes, self.link_bytes + other.link_bytes,
                    max(self.links, other.links),
                    tuple(sorted({*self.torus_dims, *other.torus_dims})),
                    self.network_bytes + other.network_bytes)

  def times(self, count: float) -> "Exchange":
    """So many of it."""
    return dataclasses.replace(
        self, sent_bytes=count * self.sent_bytes, link_bytes=count * self.link_bytes,
        network_bytes=count * self.network_bytes)

  def seconds(self, chip: Chip) -> float:
    """At least, within the slice."""
    return self.link_bytes / chip.link_bandwidth


def by_axis(text: str, devices: np.ndarray, axes: Sequence[str], chip: Chip | None = None,
            devices_per_chip: float = 1) -> dict[str, Exchange]:
  """What each chip sends, by the axes of the mesh that the collectives run along.

  Args:
    text: of a compiled program, `jax.stages.Compiled.as_text()`.
    devices: of the mesh, the slices along the first of its axes.
    axes: names of the axes of `devices`; those of a collective are joined by '+'.
    chip: of the devices; a chip without a torus, None, or another device has one link.
    devices_per_chip: in the mesh.

  Raises:
    ValueError: groups in a notation that is not known.
  """
  places, found = _Places(devices, axes, chip), {}
  for c in collectives.of_program(hlo.parse(text)):
    groups = places.between_slices if c.between_slices else tuple(map(tuple, c.groups))
    name, one = places.exchange(c.kind, groups)
    if name:
      one = one.times(c.bytes * devices_per_chip)
      found[name] = found[name] + one if name in found else one
  return dict(sorted(found.items()))


def ring(bytes: float, members: int) -> float:
  """Bytes that each of the members of a ring sends until all have gathered as many."""
  return bytes * (members - 1) / members


def torus_links(shape: Sequence[int], dims: Sequence[int], torus_dims: int,
                whole: Sequence[bool] | None = None) -> int:
  """Links of a chip along some dimensions of a slice.

  On a torus of three dimensions (v4, v5p, TPU7x) slices of whole cubes of 4 x 4 x 4 chips are
  wrapped around in all of them, on one of two (v5e, v6e) those of 16 chips.

  Args:
    shape: of the slice, in chips.
    dims: the dimensions.
    torus_dims: of the chip, see `accelerators.Chip`.
    whole: whether a group of chips has all of the slice's, per dimension in `dims`.
  """
  cubes = torus_dims == 3 and all(n % 4 == 0 for n in shape)
  closed = lambda n: n == 16 if torus_dims == 2 else cubes
  return sum(2 if full and closed(shape[dim]) else 1
             for dim, full in zip(dims, whole or [True] * len(dims), strict=True))


class _Places:
  """Where the devices of a mesh are: its axes, the slice, and the coordinates in the torus."""

  def __init__(self, devices, axes, chip):
    flat = devices.ravel()
    in_torus = chip and chip.torus_dims and flat[0].platform == "tpu"
    self._axes, self._chip = axes, chip if in_torus else None
    self._index = np.stack(np.unravel_index(np.arange(flat.size), devices.shape), -1)
    self._coords = (np.asarray([device.coords for device in flat]) if self._chip
                    else self._index[:, 1:])
    self._shape = tuple(np.ptp(self._coords, 0) + 1)
    # Every device with those at its place in the other slices.
    self.between_slices = tuple(map(tuple, np.arange(flat.size).reshape(len(devices), -1).T))
    self.exchange = functools.cache(self._exchange)

  def _exchange(self, kind, groups) -> tuple[str, Exchange]:
    """(axes of the mesh, what a chip sends per byte of a device); of the busiest group."""
    groups = [list(group) for group in groups] or [list(range(len(self._index)))]
    varies = np.any([np.ptp(self._index[group], 0) > 0 for group in groups], 0)
    name = "+".join(axis for axis, used in zip(self._axes, varies, strict=True) if used)
    return name, max((self._of_group(kind, group) for group in groups),
                     key=lambda e: (e.link_bytes, e.network_bytes))

  def _of_group(self, kind, group) -> Exchange:
    coords, slices = self._coords[group], self._index[group, 0]
    chips = np.unique(np.column_stack([slices, coords]), axis=0)
    num_slices = len(np.unique(slices))
    members = len(chips) // num_slices  # Per slice.
    size = len(chips) / len(group)  # Devices of one chip, in one group, send the same once.
    if kind == "collective-permute":  # From one to another.
      inside, outside = size * (members > 1), size * (num_slices > 1)
    else:
      twice = 2 if kind == "all-reduce" else 1
      inside, outside = twice * ring(size, members), twice * ring(size, num_slices) / members
    if not inside:
      return Exchange(network_bytes=outside)
    dims, links = (), 1
    if self._chip:
      dims = tuple(int(dim) for dim in np.flatnonzero(np.ptp(coords, 0)))
      if kind != "collective-permute":
        whole = [len(np.unique(coords[:, dim])) == self._shape[dim] for dim in dims]
        links = torus_links(self._shape, dims, self._chip.torus_dims, whole)
    return Exchange(inside, inside / links, links, dims, outside)
