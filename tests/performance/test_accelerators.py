import types

import jax
from absl.testing import absltest, parameterized

from ntm.performance import accelerators


def _devices(*places):
  """Stand-ins for TPU devices, (slice, coordinates) each."""
  return [types.SimpleNamespace(platform="tpu", slice_index=number, coords=coords)
          for number, coords in places]


class AcceleratorsTest(parameterized.TestCase):

  @parameterized.parameters(
      ("TPU v4", "TPU v4"), ("TPU v5 lite", "TPU v5e"), ("TPU v5", "TPU v5p"),
      ("TPU v5p", "TPU v5p"), ("TPU v6 lite", "TPU v6e"), ("TPU7x", "TPU7x"),
      ("NVIDIA A100-SXM4-40GB", "NVIDIA A100 SXM 40GB"),
      ("NVIDIA H100 80GB HBM3", "NVIDIA H100 SXM"), ("NVIDIA H200", "NVIDIA H200 SXM"))
  def test_device_kinds_are_those_of_jax(self, device_kind, name):
    self.assertEqual(accelerators.lookup(device_kind).name, name)

  @parameterized.parameters("cpu", "", "TPU v3", "NVIDIA H100 PCIe", "NVIDIA GeForce RTX 4090")
  def test_other_devices_are_not_listed(self, device_kind):
    self.assertIsNone(accelerators.lookup(device_kind))
    self.assertIsNone(accelerators.lookup(jax.devices("cpu")[0].device_kind))

  def test_units(self):
    for kind, chip in accelerators._BY_KIND.items():
      with self.subTest(kind):
        self.assertBetween(chip.peak_flops / chip.interconnect_bandwidth, 500, 5000)
        self.assertBetween(chip.hbm_bytes / 2 ** 30, 16, 192)
        self.assertBetween(chip.peak_flops / chip.hbm_bandwidth, 150, 600)
        self.assertBetween(chip.hbm_bandwidth / chip.interconnect_bandwidth, 4, 13)
        if chip.network_bandwidth:
          self.assertBetween(chip.interconnect_bandwidth / chip.network_bandwidth, 30, 100)

  def test_links_share_the_bandwidth(self):
    links = {chip.name: chip.interconnect_bandwidth / chip.link_bandwidth
             for chip in accelerators._BY_KIND.values()}
    for name, count in (("TPU v5e", 4), ("TPU v6e", 4), ("TPU v5p", 6), ("NVIDIA H200 SXM", 1)):
      self.assertEqual(links[name], count)

  def test_chips_are_counted_by_their_coordinates(self):
    places = [(0, [0, 0, 0]), (0, [1, 0, 0]), (0, [0, 1, 0]), (0, [1, 1, 0])]
    self.assertEqual(accelerators.num_chips(_devices(*places)), 4)
    self.assertEqual(accelerators.num_chips(_devices(*places, *places)), 4)  # Two cores per chip.
    self.assertEqual(accelerators.num_chips(_devices((0, [0, 0, 0]), (1, [0, 0, 0]))), 2)  # Slices.
    self.assertEqual(accelerators.num_chips(jax.devices("cpu")), 8)


if __name__ == "__main__":
  absltest.main()
