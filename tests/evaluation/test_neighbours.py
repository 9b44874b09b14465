from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from ntm.evaluation import neighbours


class NeighboursTest(parameterized.TestCase):

  @parameterized.parameters(
      # Balls around 0, 1, 10, 12 to the nearest other point: [-1, 2] and [8, 14].
      (1, [-1, 2, 8, 14], 1.0), (1, [-1.5, 2.5, 7.5, 14.5], 0.0), (1, [-2, 0.5, 5, 9], 0.5),
      # To the second nearest: radii 10, 9, 9, 11, from -10 to 23.
      (2, [-10, 4, 6, 23], 1.0), (2, [-10.5, 4, 6, 23.5], 0.5))
  def test_a_ball_reaches_to_the_kth_other_point(self, k, samples, precision):
    data = np.array([[0.0], [1], [10], [12]])
    samples = np.array(samples, float)[:, None]
    self.assertEqual(neighbours.precision_recall(data, samples, k)[0], precision)
    self.assertEqual(neighbours.precision_recall(samples, data, k)[1], precision)

  def test_known_radii_change_nothing(self):
    a, b = np.random.default_rng(0).normal(size=(2, 200, 4))
    self.assertEqual(neighbours.precision_recall(a, b, 5, neighbours.radii(a, 5)),
                     neighbours.precision_recall(a, b, 5))

  def test_equal_sets_are_covered(self):
    a = np.random.default_rng(0).normal(size=(200, 4))
    self.assertEqual(neighbours.precision_recall(a, a), (1, 1))

  def test_a_collapsed_sample_has_precision_without_recall(self):
    rng = np.random.default_rng(0)
    data = rng.normal(size=(1000, 4))
    collapsed = 0.1 * rng.normal(size=(1000, 4))
    precision, recall = neighbours.precision_recall(data, collapsed)
    self.assertGreater(precision, 0.9)
    self.assertLess(recall, 0.1)

  def test_any_number_at_a_time(self):
    a, b = np.random.default_rng(0).normal(size=(2, 300, 3))
    whole = neighbours.precision_recall(a, b)
    for most in (1, 300 * 7):
      with mock.patch.object(neighbours, "_MAX_DISTANCES", most):
        self.assertEqual(neighbours.precision_recall(a, b), whole)

  def test_far_samples_have_neither(self):
    data = np.random.default_rng(0).normal(size=(100, 4))
    self.assertEqual(neighbours.precision_recall(data, data + 100), (0, 0))


if __name__ == "__main__":
  absltest.main()
