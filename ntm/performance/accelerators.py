"""Peak rates and capacities of accelerators, as their vendors state them."""

import dataclasses
from collections.abc import Sequence

import jax

_GIB = 2 ** 30


@dataclasses.dataclass(frozen=True)
class Chip:
  """One chip. A JAX device may be half of one, see `num_chips`.

  Attributes:
    name: the vendor's.
    peak_flops: dense bfloat16 matrix products, FLOP/s. Other types have other peaks.
    hbm_bytes: capacity. Vendors write GB for 2^30 bytes; the runtime reserves a few
      hundred MB.
    hbm_bandwidth: bytes/s, reads and writes together.
    interconnect_bandwidth: bytes/s that the chip can send to other chips over all its
      links together while it receives as many: half of a bidirectional figure. ICI
      within a TPU slice, NVLink between GPUs; the network between slices or hosts is
      slower.
    torus_dims: dimensions of the torus that the links form, two links each; 0 if a switch
      connects all chips.
    network_bandwidth: bytes/s that the chip can send to other slices, its share of its host's;
      None if the vendor does not state it, or if it depends on the host.
    tile: side of its systolic arrays; 1 if it has none, or units too small for padding to matter.
  """

  name: str
  peak_flops: float
  hbm_bytes: int
  hbm_bandwidth: float
  interconnect_bandwidth: float
  torus_dims: int
  network_bandwidth: float | None = None
  tile: int = 1

  @property
  def link_bandwidth(self) -> float:
    """Bytes/s that it sends over one link; a switch counts as one."""
    return self.interconnect_bandwidth / max(2 * self.torus_dims, 1)


# docs.cloud.google.com/tpu/docs/v4; the interconnect, 2,400 Gbit/s one way, is six
# links of 50 GB/s in arXiv 2304.01433, table 4.
_V4 = Chip("TPU v4", 275e12, 32 * _GIB, 1200e9, 300e9, 3, tile=128)
# docs.cloud.google.com/tpu/docs/v5e: 819 GB/s, 400 GB/s bidirectional, and 6.4 Tbit/s between
# pods for 256 chips, which is two network cards of 100 Gbit/s per host of eight.
_V5E = Chip("TPU v5e", 197e12, 16 * _GIB, 819e9, 200e9, 2, 25e9 / 8, 128)
# docs.cloud.google.com/tpu/docs/v5p: 2,765 GB/s, 1,200 GB/s bidirectional, 50 Gbit/s.
_V5P = Chip("TPU v5p", 459e12, 95 * _GIB, 2765e9, 600e9, 3, 50e9 / 8, 128)
# docs.cloud.google.com/tpu/docs/v6e: 1,638 GB/s, 800 GB/s bidirectional; 100 Gbit/s in the
# table of docs.cloud.google.com/tpu/docs/tpu7x.
_V6E = Chip("TPU v6e", 918e12, 32 * _GIB, 1638e9, 400e9, 2, 100e9 / 8, 256)
# docs.cloud.google.com/tpu/docs/tpu7x: 7,380 GB/s, 1,200 GB/s bidirectional, 100 Gbit/s.
_TPU7X = Chip("TPU7x", 2307e12, 192 * _GIB, 7380e9, 600e9, 3, 100e9 / 8, 256)
# NVIDIA's A100 datasheet (nvidia.com/en-us/data-center/a100), SXM: 624 TFLOPS
# with sparsity, NVLink 600 GB/s both ways; 1,555 GB/s of memory, or 2,039 of 80 GB.
_A100_40 = Chip("NVIDIA A100 SXM 40GB", 312e12, 40 * _GIB, 1555e9, 300e9, 0)
_A100_80 = Chip("NVIDIA A100 SXM 80GB", 312e12, 80 * _GIB, 2039e9, 300e9, 0)
# nvidia.com/en-us/data-center/h100 and /h200, SXM: 1,979 TFLOPS with sparsity,
# NVLink 900 GB/s both ways, memory of 3.35 and 4.8 TB/s; the dense peak is that of the H100
# whitepaper, table 2.
_H100 = Chip("NVIDIA H100 SXM", 989.4e12, 80 * _GIB, 3350e9, 450e9, 0)
_H200 = Chip("NVIDIA H200 SXM", 989.4e12, 141 * _GIB, 4800e9, 450e9, 0)
# nvidia.com/en-us/data-center/hgx and /dgx-b200, an eighth of a board: 36 PFLOPS
# with sparsity, 1,440 GB, 64 TB/s; NVLink 1.8 TB/s per GPU both ways.
_B200 = Chip("NVIDIA B200", 2250e12, 180 * _GIB, 8000e9, 900e9, 0)

# "TPU v5" is the v5p. GPUs on PCIe cards are not listed: they are slower, with fewer links.
_BY_KIND = {
    "TPU v4": _V4,
    "TPU v5 lite": _V5E,
    "TPU v5e": _V5E,
    "TPU v5": _V5P,
    "TPU v5p": _V5P,
    "TPU v6 lite": _V6E,
    "TPU v6e": _V6E,
    "TPU7x": _TPU7X,
    "NVIDIA A100-SXM4-40GB": _A100_40,
    "NVIDIA A100-SXM4-80GB": _A100_80,
    "NVIDIA H100 80GB HBM3": _H100,
    "NVIDIA H200": _H200,
    "NVIDIA B200": _B200,
}


def lookup(device_kind: str) -> Chip | None:
  """The chip of a `jax.Device.device_kind`, or None if it is not listed, as for a CPU."""
  return _BY_KIND.get(device_kind)


def num_chips(devices: Sequence[jax.Device]) -> int:
  """Number of chips under these devices.

  A TPU device is one TensorCore or a whole chip. A TPU7x always shows two devices; a v4
  shows one at run time and two in a topology described ahead of time; v5p shows one;
  v5e and v6e have one core. Chips are therefore counted by their coordinates.
  """
  if any(device.platform != "tpu" for device in devices):
    return len(devices)
  return len({(getattr(device, "slice_index", 0), *device.coords) for device in devices})
