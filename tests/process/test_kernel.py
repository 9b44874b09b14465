import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm.process import kernel, schedule

_LEVELS = np.array([0.0, 1e-6, 0.02, 0.263, 0.5, 0.754, 1 - 1e-6, 1.0])


def _pairs():
  s, t = np.meshgrid(_LEVELS, _LEVELS)
  return s[s <= t], t[s <= t]


class KernelTest(parameterized.TestCase):

  def test_no_limit_is_nan(self):
    s, t = _pairs()
    for values in (kernel.forward_kernel(s, t), kernel.reverse_posterior(t, s),
                   [kernel.trajectory_covariance(_LEVELS)]):
      for value in values:
        self.assertTrue(np.isfinite(value).all())
        self.assertTrue(((value >= 0) & (value <= 1 + 1e-6)).all())  # up to rounding

  def test_the_covariance_has_finite_derivatives_at_its_limits(self):
    self.assertTrue(np.isfinite(jax.jacobian(kernel.trajectory_covariance)(_LEVELS)).all())

  @parameterized.parameters(
      (0.3, 0.3, (1, 0)), (1.0, 1.0, (1, 0)), (0.0, 0.0, (1, 0)),
      (0.3, 1.0, (0, 1)), (0.0, 1.0, (0, 1)), (0.0, 0.4, (0.6, 0.4)))
  def test_forward_limits(self, s, t, expected):
    np.testing.assert_allclose(kernel.forward_kernel(s, t), expected, atol=1e-7)

  @parameterized.parameters(
      (0.3, 0.3, (1, 0, 0)), (1.0, 1.0, (1, 0, 0)), (0.0, 0.0, (1, 0, 0)),
      (1.0, 0.3, (0, 0.7, 0.3)), (0.4, 0.0, (0, 1, 0)), (1.0, 0.0, (0, 1, 0)))
  def test_posterior_limits(self, t, s, expected):
    np.testing.assert_allclose(kernel.reverse_posterior(t, s), expected, atol=1e-7)

  def test_marginals_are_preserved(self):
    with jax.enable_x64():
      s, t = _pairs()
      alpha, sigma = kernel.forward_kernel(s, t)
      np.testing.assert_allclose(alpha * (1 - s), 1 - t, atol=1e-12)
      np.testing.assert_allclose(alpha**2 * s**2 + sigma**2, t**2, atol=1e-12)
      a, b, c = kernel.reverse_posterior(t, s)
      np.testing.assert_allclose(a * (1 - t) + b, 1 - s, atol=1e-9)
      np.testing.assert_allclose(a**2 * t**2 + c**2, s**2, atol=1e-12)

  def test_sigma_keeps_its_digits_near_s_equal_t(self):
    s, t = np.float32(0.5), np.float32(0.5) + np.float32(1e-6)
    exact = np.float64(t)**2 - ((1 - np.float64(t)) / (1 - np.float64(s)) * s)**2
    np.testing.assert_allclose(kernel.forward_kernel(s, t)[1], np.sqrt(exact), rtol=1e-5)

  def test_kernels_compose(self):
    with jax.enable_x64():
      r, s, t = 0.1, 0.4, 0.9
      (a1, s1), (a2, s2) = kernel.forward_kernel(r, s), kernel.forward_kernel(s, t)
      alpha, sigma = kernel.forward_kernel(r, t)
      np.testing.assert_allclose(alpha, a1 * a2, rtol=1e-12)
      np.testing.assert_allclose(sigma**2, a2**2 * s1**2 + s2**2, rtol=1e-12)

  def test_posterior_equals_gaussian_conditioning(self):
    with jax.enable_x64():
      for t, s in ((0.9, 0.2), (0.5, 0.499), (0.263, 0.02), (1.0, 0.754)):
        alpha, sigma = kernel.forward_kernel(s, t)
        # Joint of (x_s, x_t) given x_0 = 1: condition the first on the second.
        mean = np.array([1 - s, alpha * (1 - s)])
        cov = np.array([[s * s, alpha * s * s], [alpha * s * s, alpha**2 * s * s + sigma**2]])
        gain = cov[0, 1] / cov[1, 1]
        expected = gain, mean[0] - gain * mean[1], np.sqrt(cov[0, 0] - gain * cov[1, 0])
        np.testing.assert_allclose(kernel.reverse_posterior(t, s), expected, atol=1e-7)

  def test_values_at_four_steps(self):
    # The paper's Table 3 does not follow from its own Proposition 2; these do.
    t, s = np.array([1, .754, .509, .263]), np.array([.754, .509, .263, .02])
    a, b, c = kernel.reverse_posterior(t, s)
    np.testing.assert_allclose(a, [0, .228, .178, .004], atol=6e-4)
    np.testing.assert_allclose(b, [.246, .435, .650, .977], atol=6e-4)
    np.testing.assert_allclose(c, [.754, .479, .247, .020], atol=6e-4)

  def test_covariance_is_that_of_the_chain(self):
    with jax.enable_x64():
      times = np.asarray(schedule.uniform_times(5, 0.02))
      # x_k = (prod alpha) x_0 + sum of scaled noises: build the mixing matrix.
      alpha, sigma = kernel.forward_kernel(np.r_[0, times[:-1]], times)
      mixing = np.zeros((6, 6))
      for k in range(6):
        mixing[k] = (alpha[k] * mixing[k - 1] if k else 0)
        mixing[k, k] = sigma[k]
      np.testing.assert_allclose(kernel.trajectory_covariance(times), mixing @ mixing.T, atol=1e-12)

  def test_covariance_batches_over_examples(self):
    times = schedule.uniform_times(4, jnp.array([0.0, 0.02]))
    both = kernel.trajectory_covariance(times)
    for b in range(2):
      np.testing.assert_array_equal(both[..., b], kernel.trajectory_covariance(times[:, b]))


if __name__ == "__main__":
  absltest.main()
