import numpy as np
import scipy.linalg
from absl.testing import absltest

from ntm.evaluation import frechet


class FrechetTest(absltest.TestCase):

  def test_is_zero_for_equal_sets_and_symmetric(self):
    a, b = np.random.default_rng(0).normal(size=(2, 500, 6))
    self.assertAlmostEqual(frechet.distance(a, a), 0, places=8)
    self.assertAlmostEqual(frechet.distance(a, b), frechet.distance(b, a), places=8)

  def test_equals_the_matrix_square_root_formula(self):
    rng = np.random.default_rng(0)
    a = rng.normal(size=(500, 6)) @ rng.normal(size=(6, 6))
    b = rng.normal(size=(400, 6)) @ rng.normal(size=(6, 6)) + 1
    (m1, s1), (m2, s2) = frechet.moments(a), frechet.moments(b)
    expected = ((m1 - m2) ** 2).sum() + np.trace(s1 + s2 - 2 * scipy.linalg.sqrtm(s1 @ s2).real)
    self.assertAlmostEqual(frechet.distance(a, b), expected, places=6)

  def test_a_shift_costs_its_square_even_for_dead_features(self):
    a = np.random.default_rng(0).normal(size=(500, 6))
    a[:, 3] = 0
    self.assertAlmostEqual(frechet.distance(a, a + 2), 6 * 4, places=6)

  def test_one_row_is_refused(self):
    with self.assertRaisesRegex(ValueError, "at least two rows"):
      frechet.moments(np.zeros((1, 3)))


if __name__ == "__main__":
  absltest.main()
