"""Grid points come back through monotone maps, at the cost of the maps' volume."""

import math

import numpy as np
from absl.testing import absltest

from ntm.likelihood import cells, gaussian_bins
from ntm.likelihood.ans import Stack

_FINE = 2.0 ** cells.FINE_BITS


def _triangular(slope):
  """u_0 = slope x_0, u_1 = slope (x_1 - x_0 / 2), in grid points."""
  shift = lambda x_D: np.array([0, x_D[0] / 2])
  edges = lambda x_D: np.stack([slope * (x_D + i - shift(x_D)) * _FINE for i in (0, 1)])
  return edges, lambda x_D, z_D: z_D / _FINE / slope + shift(x_D)


class CellsTest(absltest.TestCase):

  def test_comes_back_at_the_cost_of_the_volume(self):
    for slope in (0.01, 1.0, 30.0):
      edges, inverse = _triangular(slope)
      start = 3 ** 200
      stack, order = Stack(start), [[0], [1]]
      x_D = np.array([5_000, -70_000]) * 2 ** (gaussian_bins.GRID_BITS - 17)
      u_D = cells.encode(stack, x_D, order, edges)
      np.testing.assert_allclose(u_D, [slope * x_D[0], slope * (x_D[1] - x_D[0] / 2)],
                                 atol=slope + 1)
      bits = math.log2(stack.value) - math.log2(start)
      self.assertAlmostEqual(bits, -2 * math.log2(slope), delta=1e-3)
      np.testing.assert_array_equal(cells.decode(stack, u_D, order, edges, inverse), x_D)
      self.assertEqual(stack.value, start)

  def test_a_map_that_is_too_flat_is_refused(self):
    edges, _ = _triangular(1e-9)
    with self.assertRaisesRegex(ValueError, "too flat to be coded"):
      cells.encode(Stack(1), np.array([5, 7]), [[0], [1]], edges)


if __name__ == "__main__":
  absltest.main()
