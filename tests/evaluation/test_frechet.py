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

  def test_the_standard_error_is_the_spread_of_distances(self):
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(4000, 5))
    sets = rng.normal(size=(200, 600, 5)) + 0.3
    spread = np.std([frechet.distance(reference, samples) for samples in sets])
    errors = [frechet.standard_error(reference, samples) for samples in sets]
    self.assertAlmostEqual(np.sqrt(np.mean(np.square(errors))) / spread, 1, delta=0.15)

  def test_the_jackknife_of_a_linear_statistic_is_exact(self):
    # Of equal covariances the distance along a large shift is nearly linear in the mean.
    rng = np.random.default_rng(0)
    reference, samples = rng.normal(size=(2000, 2)), rng.normal(size=(1000, 2)) + [1000, 0]
    groups = samples[:, 0].reshape(10, 100).mean(axis=1)
    expected = 2 * 1000 * np.std(groups, ddof=1) / np.sqrt(10)
    self.assertAlmostEqual(frechet.standard_error(reference, samples) / expected, 1, delta=0.01)

  def test_few_rows_make_few_groups(self):
    rng = np.random.default_rng(0)
    self.assertGreater(frechet.standard_error(rng.normal(size=(50, 2)), rng.normal(size=(5, 2))), 0)

  def test_one_row_is_refused(self):
    with self.assertRaisesRegex(ValueError, "at least two rows"):
      frechet.moments(np.zeros((1, 3)))


if __name__ == "__main__":
  absltest.main()
