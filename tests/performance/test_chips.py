import types

import jax
from absl.testing import absltest, parameterized

from ntm.performance import chips


def _devices(*places):
  """Stand-ins for TPU devices, (slice, coordinates) each."""
  return [types.SimpleNamespace(platform="tpu", slice_index=number, coords=coords)
          for number, coords in places]


class ChipsTest(parameterized.TestCase):

  @parameterized.parameters(
      ("TPU v4", "TPU v4"), ("TPU v5 lite", "TPU v5e"), ("TPU v5", "TPU v5p"),
      ("TPU v5p", "TPU v5p"), ("TPU v6 lite", "TPU v6e"), ("TPU7x", "TPU7x"),
      ("NVIDIA A100-SXM4-40GB", "NVIDIA A100 SXM 40GB"),
      ("NVIDIA H100 80GB HBM3", "NVIDIA H100 SXM"), ("NVIDIA H200", "NVIDIA H200 SXM"))
  def test_the_names_of_devices(self, device_kind, name):
    self.assertEqual(chips.lookup(device_kind).name, name)

  @parameterized.parameters("cpu", "", "TPU v3", "NVIDIA H100 PCIe", "NVIDIA GeForce RTX 4090")
  def test_others_are_not_known(self, device_kind):
    self.assertIsNone(chips.lookup(device_kind))
    self.assertIsNone(chips.lookup(jax.devices("cpu")[0].device_kind))

  def test_units(self):
    for kind, chip in chips._BY_KIND.items():
      with self.subTest(kind):
        # A product of bfloat16 needs some hundred FLOPs a byte to fill any of them.
        self.assertBetween(chip.peak_flops / chip.hbm_bandwidth, 100, 1000)
        self.assertBetween(chip.hbm_bandwidth / chip.interconnect_bandwidth, 2, 20)
        self.assertBetween(chip.hbm_bytes / 2 ** 30, 16, 192)

  def test_a_chip_is_a_place(self):
    places = [(0, [0, 0, 0]), (0, [1, 0, 0]), (0, [0, 1, 0]), (0, [1, 1, 0])]
    self.assertEqual(chips.count(_devices(*places)), 4)
    self.assertEqual(chips.count(_devices(*places, *places)), 4)  # Two cores a chip.
    self.assertEqual(chips.count(_devices((0, [0, 0, 0]), (1, [0, 0, 0]))), 2)  # Two slices.
    self.assertEqual(chips.count(jax.devices("cpu")), 8)


if __name__ == "__main__":
  absltest.main()
