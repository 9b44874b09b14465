"""Closed forms against quadrature and drawn samples, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from scipy import integrate, stats

from ntm.truth.mixtures import GaussianMixture, UniformMixture
from tests.truth import examples

_STATES = np.array([[0.1, 0.2], [-0.5, -0.3], [1.1, 0.6]])

# Compiled: one by one, each of their many operations would be a program.
_log_components, _clean_moments, _cdf, _in_mode, _sample_clean = (
    jax.jit(lambda mixture, *args, name=name: getattr(mixture, name)(*args), static_argnums=0)
    for name in ("log_components", "clean_moments", "cdf", "in_mode", "sample_clean"))


class MixturesTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.enterContext(jax.enable_x64(True))

  @parameterized.product(named=examples.BOTH, t=(0.1, 0.4, 0.9, 0.999))
  def test_densities_and_moments_are_those_by_quadrature(self, named, t):
    _, mixture = named
    log_J = _log_components(mixture, _STATES, t)
    mean, variance = _clean_moments(mixture, _STATES, t)
    for i, state in enumerate(_STATES):
      x0_JPD, mass_JP = examples.joint(mixture, state, t)
      total_J = mass_JP.sum(1)
      np.testing.assert_allclose(np.exp(log_J[i]), total_J, rtol=1e-6, atol=1e-20)
      mean_JD = np.einsum("jp,jpd->jd", mass_JP, x0_JPD) / total_J[:, None]
      offset_JPD = x0_JPD - mean_JD[:, None]
      variance_JD = np.einsum("jp,jpd->jd", mass_JP, offset_JPD ** 2) / total_J[:, None]
      near_J = total_J > 1e-12  # Else the nodes do not reach the posterior.
      self.assertTrue(near_J.any())
      np.testing.assert_allclose(mean[i][near_J], mean_JD[near_J], atol=1e-7)
      np.testing.assert_allclose(variance[i][near_J], variance_JD[near_J], rtol=1e-5)

  @parameterized.parameters(0.05, 0.5, 0.97)
  def test_uniform_factors_are_those_of_adaptive_quadrature(self, t):
    mixture = UniformMixture(np.array([[0.2]]), np.array([[0.7]]))
    for x in (-0.1, 0.3, 0.9):
      density = lambda y, power, x=x: 2 * y ** power * stats.norm.pdf(x, (1 - t) * y, t)
      moments = [integrate.quad(density, 0.2, 0.7, args=(power,), epsabs=0, epsrel=1e-12)[0]
                 for power in range(3)]
      state = np.array([x])
      mean, variance = (float(part[0, 0]) for part in _clean_moments(mixture, state, t))
      self.assertAlmostEqual(float(np.exp(_log_components(mixture, state, t)[0])) / moments[0], 1,
                             places=10)
      self.assertAlmostEqual(mean, moments[1] / moments[0], places=10)
      self.assertAlmostEqual(variance, moments[2] / moments[0] - mean ** 2, places=10)

  def test_a_uniform_box_far_from_a_state_is_finite(self):
    mixture = UniformMixture(np.array([[-1.0], [0.9]]), np.array([[-0.9], [1.0]]))
    log_J = _log_components(mixture, np.array([[0.95], [-60.0]]), 0.02)
    mean, variance = _clean_moments(mixture, np.array([[0.95], [-60.0]]), 0.02)
    for values in (log_J, mean, variance):
      self.assertTrue(np.isfinite(values).all())
    self.assertLess(log_J[0, 0], -1000)

  @parameterized.named_parameters(*examples.BOTH)
  def test_at_the_noise_level_nothing_is_known_of_the_data(self, mixture):
    noise = stats.norm.logpdf(_STATES).sum(-1)
    np.testing.assert_allclose(_log_components(mixture, _STATES, 1.0),
                               noise[:, None] + mixture.log_weight_J, rtol=1e-12)
    at_noise = _clean_moments(mixture, _STATES, 1.0)
    for last, near in zip(at_noise, _clean_moments(mixture, _STATES, 1 - 1e-5)):
      np.testing.assert_allclose(last, near, atol=1e-4)

  @parameterized.product(named=examples.BOTH, t=(0.05, 0.6, 1.0))
  def test_clean_data_given_a_state_have_the_moments(self, named, t):
    _, mixture = named
    count = 40_000
    for i, state in enumerate(_STATES):
      j = i % 3
      x0 = np.asarray(_sample_clean(mixture, jax.random.key(i), jnp.tile(state, (count, 1)), t,
                                           jnp.full(count, j)))
      mean, variance = (np.asarray(part)[j] for part in _clean_moments(mixture, state, t))
      self.assertTrue((abs(x0.mean(0) - mean) < 5 * np.sqrt(variance / count)).all())
      np.testing.assert_allclose(x0.var(0), variance, rtol=5 * np.sqrt(2 / count))

  @parameterized.product(named=examples.BOTH, t=(0.0, 0.1, 0.7, 1.0))
  def test_the_distribution_function_integrates_the_density(self, named, t):
    _, mixture = named
    # Of one component and dimension at a time.
    edges = np.linspace(-6, 6, 2401)
    middle = (edges[1:] + edges[:-1]) / 2
    for d in range(2):
      single = (GaussianMixture(mixture.mean_JD[:1, d:d + 1], mixture.sigma)
                if isinstance(mixture, GaussianMixture) else
                UniformMixture(mixture.low_JD[:1, d:d + 1], mixture.high_JD[:1, d:d + 1]))
      mass = np.exp(_log_components(single, middle[:, None], t))[:, 0] * np.diff(edges)
      difference = np.diff(np.asarray(_cdf(single, edges, t))[:, 0, 0])
      np.testing.assert_allclose(difference, mass, atol=1e-4)
      self.assertAlmostEqual(difference.sum(), 1, places=6)
      np.testing.assert_allclose(_cdf(single, edges, t)[:, 0, 0], _cdf(mixture, edges, t)[:, 0, d],
                                 rtol=1e-12)

  @parameterized.named_parameters(*examples.BOTH)
  def test_draws_have_the_weights_and_moments(self, mixture):
    x0, components = examples.draws(mixture, 20_000)
    weight_J = np.exp(mixture.log_weight_J)
    share_J = np.bincount(components, minlength=3) / len(components)
    error = np.sqrt(weight_J * (1 - weight_J) / len(components))
    self.assertTrue((abs(share_J - weight_J) < 4 * error).all())
    mean, variance = (np.asarray(part)[0] for part in _clean_moments(mixture, _STATES[:1], 1.0))
    for j in range(3):
      part = x0[components == j]
      self.assertTrue((abs(part.mean(0) - mean[j]) < 5 * np.sqrt(variance[j] / len(part))).all())
      np.testing.assert_allclose(part.var(0), variance[j], rtol=5 * np.sqrt(2 / len(part)))

  @parameterized.parameters(1, 2, 64)
  def test_a_gaussian_mode_holds_98_9_percent_of_its_component_in_any_dimension(self, size):
    mixture = GaussianMixture(np.zeros((1, size)), 0.1)
    count, t = 40_000, 0.02
    scale = np.hypot((1 - t) * 0.1, t)
    states = scale * np.random.default_rng(0).normal(size=(count, size))
    share = np.asarray(_in_mode(mixture, states, t)).mean()
    self.assertAlmostEqual(share, 1 - np.exp(-4.5), delta=4 * np.sqrt(0.011 / count))
    if size == 2:
      self.assertTrue(_in_mode(mixture, np.array([2.99 * scale, 0]), t))
      self.assertFalse(_in_mode(mixture, np.array([3.01 * scale, 0]), t))

  def test_a_uniform_mode_is_its_box_with_a_margin_of_noise(self):
    mixture = UniformMixture(np.array([[0.0, 0.0]]), np.array([[1.0, 1.0]]))
    inside = _in_mode(mixture, np.array([[0.5, 1.01], [1.01, 1.05], [-0.05, 0.5], [0.5, -0.07]]),
                             0.02)
    np.testing.assert_array_equal(inside, [True, False, True, False])
    np.testing.assert_array_equal(
        _in_mode(mixture, np.array([[0.999, 0.5], [1.001, 0.5]]), 0.0), [True, False])

  @parameterized.parameters(
      (lambda: GaussianMixture(np.zeros((0, 2)), 1.0), r"shape \(0, 2\); expected finite means"),
      (lambda: GaussianMixture(np.full((1, 2), np.nan), 1.0), "expected finite means"),
      (lambda: GaussianMixture(np.zeros((1, 2)), 0.0), "sigma is 0.0; expected a positive"),
      (lambda: GaussianMixture(np.zeros((2, 2)), 1.0, np.zeros(2)), "weights that sum to 1"),
      (lambda: UniformMixture(np.zeros((0, 2)), np.zeros((0, 2))), "expected boxes"),
      (lambda: UniformMixture(np.zeros((1, 2)), np.zeros((1, 2))), "with low below high"))
  def test_mistakes_are_named(self, make, message):
    with self.assertRaisesRegex(ValueError, message):
      make()


if __name__ == "__main__":
  absltest.main()
