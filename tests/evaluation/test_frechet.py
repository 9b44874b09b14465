import numpy as np
import scipy.linalg
from absl.testing import absltest

from ntm.evaluation import frechet
from ntm.evaluation.frechet import Gaussian
from ntm.evaluation.moments import Moments


class FrechetTest(absltest.TestCase):

  def test_is_zero_for_equal_sets_and_symmetric(self):
    a, b = np.random.default_rng(0).normal(size=(2, 500, 6))
    self.assertAlmostEqual(frechet.distance(a, a), 0, places=8)
    self.assertAlmostEqual(frechet.distance(a, b), frechet.distance(b, a), places=8)

  def test_equals_the_matrix_square_root_formula(self):
    rng = np.random.default_rng(0)
    a = rng.normal(size=(500, 60)) @ rng.normal(size=(60, 60))
    b = rng.normal(size=(400, 60)) @ rng.normal(size=(60, 60)) + 1
    m1, m2, s1, s2 = a.mean(0), b.mean(0), np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    expected = ((m1 - m2) ** 2).sum() + np.trace(s1 + s2 - 2 * scipy.linalg.sqrtm(s1 @ s2).real)
    np.testing.assert_allclose(frechet.distance(a, b), expected, rtol=1e-9)
    gaussians = Gaussian.of_covariance(m1, s1), Gaussian.of_covariance(m2, s2)
    np.testing.assert_allclose(frechet.between(*gaussians), expected, rtol=1e-9)

  def test_fewer_samples_than_features(self):
    """The trace of the root is also the sum of singular values of A B^T, of centred features."""
    rng = np.random.default_rng(0)
    scale = np.logspace(0, -4, 300)
    a, b = rng.normal(size=(40, 300)) * scale, rng.normal(size=(50, 300)) * scale
    centred = [(x - x.mean(0)) / np.sqrt(len(x) - 1) for x in (a, b)]
    overlap = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum()
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + sum((x**2).sum() for x in centred)
    expected -= 2 * overlap
    np.testing.assert_allclose(frechet.distance(a, b), expected, rtol=1e-11)
    # Of covariances alone, whose rank is not known.
    singular = [Gaussian.of_moments(Moments.of(x)) for x in (a, b)]
    np.testing.assert_allclose(frechet.between(*singular), expected, rtol=1e-6)
    self.assertAlmostEqual(frechet.between(singular[0], singular[0]), 0, places=11)

  def test_the_standard_error_of_few_rows_is_that_of_their_moments(self):
    rng = np.random.default_rng(0)
    reference, samples = Gaussian.fit(rng.normal(size=(50, 8))), rng.normal(size=(8, 8))
    groups = [np.delete(samples, range(2 * i, 2 * i + 2), axis=0) for i in range(4)]
    values = [frechet.between(reference, Gaussian.of_moments(Moments.of(rest))) for rest in groups]
    np.testing.assert_allclose(frechet.standard_error(reference, samples),
                               np.sqrt(3 * np.var(values)), rtol=1e-6)

  def test_a_shift_costs_its_square_even_for_dead_features(self):
    a = np.random.default_rng(0).normal(size=(500, 6))
    a[:, 3] = 0
    self.assertAlmostEqual(frechet.distance(a, a + 2), 6 * 4, places=6)

  def test_the_standard_error_is_the_spread_of_distances(self):
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(4000, 5))
    sets = rng.normal(size=(200, 600, 5)) + 0.3
    spread = np.std([frechet.distance(reference, samples) for samples in sets])
    errors = [frechet.standard_error(Gaussian.fit(reference), samples) for samples in sets]
    self.assertAlmostEqual(np.sqrt(np.mean(np.square(errors))) / spread, 1, delta=0.15)

  def test_the_jackknife_of_a_linear_statistic_is_exact(self):
    # Of equal covariances the distance along a large shift is nearly linear in the mean.
    rng = np.random.default_rng(0)
    reference, samples = rng.normal(size=(2000, 2)), rng.normal(size=(1000, 2)) + [1000, 0]
    groups = samples[:, 0].reshape(10, 100).mean(axis=1)
    expected = 2 * 1000 * np.std(groups, ddof=1) / np.sqrt(10)
    error = frechet.standard_error(Gaussian.fit(reference), samples)
    self.assertAlmostEqual(error / expected, 1, delta=0.01)

  def test_few_rows_make_few_groups(self):
    rng = np.random.default_rng(0)
    self.assertGreater(frechet.standard_error(
        Gaussian.fit(rng.normal(size=(50, 2))), rng.normal(size=(5, 2))), 0)

  def test_one_row_is_refused(self):
    with self.assertRaisesRegex(ValueError, "at least two rows"):
      frechet.distance(np.zeros((1, 3)), np.zeros((4, 3)))


if __name__ == "__main__":
  absltest.main()
