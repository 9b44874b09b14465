"""Normal variables on an interval against SciPy's and against quadrature, in float64."""

import jax
import numpy as np
from absl.testing import absltest, parameterized
from scipy import stats

from ntm.truth import truncated_normal

# Around 0, in both tails, short and long.
_ENDS = ((-1.0, 2.0), (-9.0, -8.0), (8.0, 9.0), (0.3, 0.3001), (-0.01, 0.01), (-12.0, 12.0),
         (19.0, 19.5), (-19.9, -19.0))


class TruncatedNormalTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.enterContext(jax.enable_x64(True))

  @parameterized.parameters(*_ENDS)
  def test_the_mass_is_that_of_scipy(self, low, high):
    left, right = stats.norm.logcdf((low, high) if low < 0 else (-high, -low))
    np.testing.assert_allclose(truncated_normal.log_mass(low, high),
                               right + np.log1p(-np.exp(left - right)), rtol=1e-10, atol=1e-15)

  @parameterized.parameters(*_ENDS)
  def test_moments_are_those_by_quadrature(self, low, high):
    nodes, weights = np.polynomial.legendre.leggauss(200)
    middle, half = (low + high) / 2, (high - low) / 2
    mass = weights * np.exp(-(middle * half * nodes + (half * nodes) ** 2 / 2))
    mean = (mass * nodes).sum() / mass.sum()
    variance = (mass * (nodes - mean) ** 2).sum() / mass.sum()
    found = truncated_normal.moments(np.array([low]), np.array([high]))
    np.testing.assert_allclose(np.array(found)[:, 0], (mean, variance), rtol=1e-7, atol=1e-12)

  @parameterized.parameters(*_ENDS)
  def test_quantiles_divide_the_mass(self, low, high):
    share = np.array([0.0, 0.1, 0.5, 0.9, 1.0])
    z = np.array(truncated_normal.quantile(share, low, high))
    if low > 0:  # Counted from above.
      share = 1 - share
    np.testing.assert_allclose(z, stats.truncnorm.ppf(share, low, high), rtol=1e-6)


if __name__ == "__main__":
  absltest.main()
