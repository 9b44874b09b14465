import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm.sampling.guidance import guide

_C, _U = jax.random.normal(jax.random.key(0), (2, 2, 100))


class GuidanceTest(parameterized.TestCase):

  def test_zero_returns_the_conditional_exactly(self):
    mean, log_scale = guide(_C, _U, 0.0)
    np.testing.assert_array_equal(mean, _C[0])
    np.testing.assert_array_equal(log_scale, _C[1])

  @parameterized.parameters(0.5, 2.0)
  def test_follows_its_formula(self, w):
    (mean_c, mean_u), (sigma_c, sigma_u) = (_C[0], _U[0]), np.exp([_C[1], _U[1]])
    r = np.clip((sigma_c / sigma_u) ** 2, 0, 1)
    mean, log_scale = guide(_C, _U, w)
    np.testing.assert_allclose(jnp.exp(log_scale), sigma_c / np.sqrt(1 + w - w * r), rtol=1e-5)
    np.testing.assert_allclose(
        mean, ((1 + w) * mean_c - w * r * mean_u) / (1 + w - w * r), rtol=1e-4, atol=1e-5)

  def test_equal_scales_move_the_mean_linearly(self):
    mean, log_scale = guide((_C[0], _C[1]), (_U[0], _C[1]), 1.5)
    np.testing.assert_allclose(mean, 2.5 * _C[0] - 1.5 * _U[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(log_scale, _C[1], atol=1e-6)

  def test_is_the_power_of_the_two_densities(self):
    # p_c^{1+w} / p_u^w is Gaussian where sigma_u > sigma_c: the log-ratio of two
    # points under it must be that of the guided Gaussian.
    w, c, u = 0.7, (0.3, np.log(0.5)), (-0.2, np.log(0.9))
    mean, log_scale = guide(*(tuple(map(jnp.float32, g)) for g in (c, u)), w)
    logpdf = lambda x, g: jax.scipy.stats.norm.logpdf(x, g[0], np.exp(g[1]))
    target = lambda x: (1 + w) * logpdf(x, c) - w * logpdf(x, u)
    guided = lambda x: logpdf(x, (mean, log_scale))
    np.testing.assert_allclose(guided(1.0) - guided(-0.5), target(1.0) - target(-0.5), rtol=1e-4)


if __name__ == "__main__":
  absltest.main()
