"""Grid points under a Gaussian come back, cost their probability, and are drawn from it."""

import math
import random

import numpy as np
from absl.testing import absltest, parameterized

from ntm.likelihood import gaussian_bins
from ntm.likelihood.ans import Stack


class GaussianBinsTest(parameterized.TestCase):

  @parameterized.parameters((0.0, 1.0), (-3.2, 0.01), (40.0, 0.5), (0.0, 60.0))
  def test_any_point_comes_back(self, mean, scale):
    rng, stack = random.Random(1), Stack(99)
    low, high = -gaussian_bins.LIMIT, gaussian_bins.LIMIT
    points = [low, high - 1, 0] + [rng.randrange(low, high) for _ in range(20)]
    for point in points:
      gaussian_bins.push(stack, point, mean, scale)
    for point in reversed(points):
      self.assertEqual(gaussian_bins.pop(stack, mean, scale), point)
    self.assertEqual(stack.value, 99)

  def test_a_point_costs_its_density(self):
    stack = Stack(1 << 100)
    for x in (-3.0, -0.5, 0.0, 2.0, 4.0):
      before = math.log2(stack.value)
      gaussian_bins.push(stack, round(x / gaussian_bins.UNIT), 0.1, 0.8)
      bits = (0.5 * ((x - 0.1) / 0.8) ** 2 + math.log(0.8 * math.sqrt(2 * math.pi))) / math.log(2)
      self.assertAlmostEqual(math.log2(stack.value) - before, bits + gaussian_bins.GRID_BITS,
                             delta=2e-3)

  def test_random_bits_give_the_distribution(self):
    stack = Stack(random.Random(0).getrandbits(60_000))
    low, high = (round(x / gaussian_bins.UNIT) for x in (-1, 1))
    drawn = gaussian_bins.UNIT * np.array(
        [gaussian_bins.pop(stack, 0.0, 10.0, low, high) for _ in range(1000)])
    self.assertLess(abs(drawn.mean()), 0.08)  # Nearly uniform in [-1, 1], 4 standard errors.
    self.assertAlmostEqual(drawn.var(), 1 / 3, delta=0.04)

  def test_points_outside_and_empty_bounds_are_refused(self):
    with self.assertRaisesRegex(ValueError, "a state is 64; expected"):
      gaussian_bins.push(Stack(), gaussian_bins.LIMIT, 0.0, 1.0)
    with self.assertRaisesRegex(ValueError, "has no mass from"):
      gaussian_bins.push(Stack(), 0, 100.0, 0.01)


if __name__ == "__main__":
  absltest.main()
