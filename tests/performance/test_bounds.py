"""Laws of the bound, and one program written by hand."""

import types

import numpy as np
from absl.testing import absltest, parameterized

from ntm.performance import accelerators, bounds, interconnect, memory_traffic
from ntm.performance.interconnect import Exchange

_CHIP = accelerators.lookup("TPU v5 lite")
_TEXT = """%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

ENTRY %main (x: bf16[1024,1024], w: bf16[256,1024]) -> bf16[1024,1024] {
  %x = bf16[1024,1024]{1,0} parameter(0)
  %w = bf16[256,1024]{1,0} parameter(1)
  %all = bf16[1024,1024]{1,0} all-gather(%w), replica_groups={{0,1,2,3}}, dimensions={0}
  ROOT %y = bf16[1024,1024]{1,0} dot(%x, %all), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}"""
_MIB = 2 ** 20


class BoundsTest(parameterized.TestCase):

  def test_a_program_written_by_hand(self):
    devices = np.empty((1, 1, 4, 1), object)
    for k, coords in enumerate(np.ndindex(2, 2, 1)):
      devices[0, 0, k, 0] = types.SimpleNamespace(platform="tpu", coords=coords)
    exchanges = interconnect.by_axis(_TEXT, devices, ("slices", "data", "fsdp", "tensor"), _CHIP)
    moved = memory_traffic.traffic_bytes(_TEXT)
    self.assertEqual(moved, 8.5 * _MIB)  # Gathered: 0.5 + 2; multiplied: 2 + 2 + 2.
    bound = bounds.of_chip(_CHIP, 2 * 1024 ** 3, moved, exchanges)
    self.assertAlmostEqual(bound.compute, 2 * 1024 ** 3 / 197e12)
    self.assertAlmostEqual(bound.memory, 8.5 * _MIB / 819e9)
    self.assertAlmostEqual(bound.interconnect, 2 * _MIB * 3 / 4 / 100e9)  # Two links.
    self.assertEqual(bound.network, 0)
    self.assertEqual(bound.overlapped, bound.interconnect)
    self.assertAlmostEqual(bound.serial, bound.compute + bound.memory + bound.interconnect)

  def test_axes_of_other_dimensions_work_at_once_and_of_the_same_one_after_the_other(self):
    one = Exchange(100, 100, 1, (0,))
    other = Exchange(60, 60, 1, (1,))
    both = Exchange(50, 25, 2, (0, 1))
    seconds = lambda count: count / _CHIP.link_bandwidth
    apart = bounds.of_chip(_CHIP, 0, 0, {"data": one, "fsdp": other})
    self.assertEqual(apart.interconnect, seconds(100))
    self.assertEqual(apart.serial, seconds(160))
    shared = bounds.of_chip(_CHIP, 0, 0, {"data": one, "fsdp": other, "data+fsdp": both})
    self.assertEqual(shared.interconnect, seconds(125))

  def test_the_sum_is_at_least_the_longest_part(self):
    rng = np.random.default_rng(0)
    for _ in range(50):
      dims = lambda: tuple(rng.permutation(2)[:rng.integers(1, 3)])
      exchanges = {name: Exchange(n, n / 2, 2, dims(), n / 9)
                   for name, n in zip(("data", "fsdp", "data+fsdp"), rng.uniform(0, 1e9, 3))}
      bound = bounds.of_chip(_CHIP, rng.uniform(0, 1e12), rng.uniform(0, 1e9), exchanges)
      self.assertGreaterEqual(bound.serial, bound.overlapped)
      self.assertLessEqual(bound.serial, 7 * bound.overlapped)  # Three parts, and four of links.
      self.assertEqual(bound.overlapped, max(bound.parts.values()))

  def test_the_network_between_slices(self):
    sent = {"slices": Exchange(network_bytes=25e9 / 8)}
    self.assertEqual(bounds.of_chip(_CHIP, 0, 0, sent).parts["network"], 1)
    unknown = accelerators.lookup("TPU v4")
    self.assertEqual(bounds.of_chip(unknown, 0, 0, sent).overlapped, 0)


if __name__ == "__main__":
  absltest.main()
