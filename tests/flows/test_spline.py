import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm import testing
from ntm.flows import spline

_LIMIT = 4.0


def _raw(bins, batch=1, scale=1.0, seed=0, dtype=jnp.float32):
  return jnp.asarray(
      scale * np.random.default_rng(seed).normal(size=(batch, 3 * bins - 1, 1)), dtype)


def _edges(found):
  """Knots on both axes, ends included: (x_k, u_k) of the first spline."""
  sums = lambda sizes: np.concatenate([[0], np.cumsum(np.asarray(sizes)[0, :, 0])]) - found.limit
  return sums(found.widths), sums(found.heights)


def _everywhere(bins, scale, dtype=jnp.float32):
  """(raw parameters, x): inside, outside, on the ends and on every knot, as [B, 1]."""
  raw = _raw(bins, 1, scale, dtype=dtype)
  knots, _ = _edges(spline.from_raw(raw, _LIMIT))
  ends = np.array([-_LIMIT, _LIMIT])
  x = np.concatenate([np.linspace(-1.5 * _LIMIT, 1.5 * _LIMIT, 301), knots, ends,
                      np.nextafter(np.float32(ends), np.float32(0)), [-1e30, 1e30]])
  return jnp.tile(raw, (len(x), 1, 1)), jnp.asarray(x[:, None], dtype)


def _forward(raw, x):
  u, log_slope = spline.from_raw(raw, _LIMIT).forward(x)
  return u, log_slope.sum(axis=1)


def _inverse(raw, u):
  x, log_slope = spline.from_raw(raw, _LIMIT).inverse(u)
  return x, log_slope.sum(axis=1)


class SplineTest(parameterized.TestCase):

  @parameterized.product(bins=(2, 3, 7, 16, 32), function=(_forward, _inverse))
  def test_raw_zeros_are_exactly_the_identity(self, bins, function):
    raw, x = _everywhere(bins, 0.0)
    testing.assert_starts_as_identity(jax.jit(functools.partial(function, raw)), x)

  @parameterized.parameters(("float32", 2), ("float32", 16), ("float64", 2), ("float64", 16))
  def test_round_trip(self, precision, bins):
    with jax.enable_x64(precision == "float64"):
      raw, x = _everywhere(bins, 0.7, jnp.dtype(precision))
      # A slope of e^-4 makes 55 errors of x out of one of u, which is as large as 4.
      atol = {"float32": 1e-4, "float64": 1e-12}[precision]
      testing.assert_round_trip(jax.jit(functools.partial(_forward, raw)),
                                jax.jit(functools.partial(_inverse, raw)), x, atol=atol, rtol=0)

  @parameterized.parameters((_forward, 0.7), (_forward, 5.0), (_inverse, 0.7))
  def test_log_slope_is_that_of_the_derivative(self, function, scale):
    with jax.enable_x64(True):
      raw, x = _everywhere(8, scale, jnp.float64)
      testing.assert_log_det_matches_jacobian(functools.partial(function, raw), x, atol=1e-7)

  @parameterized.parameters(0.7, 5.0)
  def test_is_continuously_differentiable_at_its_knots_and_ends(self, scale):
    with jax.enable_x64(True):
      raw = _raw(6, 1, scale, dtype=jnp.float64)
      knots, images = _edges(spline.from_raw(raw, _LIMIT))
      gap = 1e-11
      for side in (-gap, gap):
        x = jnp.asarray(knots[:, None] + side)
        u, log_slope = _forward(jnp.tile(raw, (len(x), 1, 1)), x)
        np.testing.assert_allclose(u[:, 0], images, atol=1e-6)
        if side < 0:
          below = log_slope
      np.testing.assert_allclose(below, log_slope, atol=1e-4)
      np.testing.assert_allclose(log_slope[np.array([0, -1])], 0, atol=1e-4)
      self.assertGreater(np.abs(log_slope[1:-1]).max(), 0.3)

  def test_is_the_formula_of_durkan_et_al(self):
    # Their (4), with slopes as here, written independently bin by bin.
    with jax.enable_x64(True):
      raw = _raw(4, dtype=jnp.float64)
      found = spline.from_raw(raw, _LIMIT)
      x_k, u_k = _edges(found)
      s = np.diff(u_k) / np.diff(x_k)
      d = np.concatenate([[1], 2 / (1 / s[1:] + 1 / s[:-1]) * np.exp(
          2 * np.tanh(np.asarray(raw)[0, 8:, 0] / 2)), [1]])
      for k in range(4):
        for t in (0.1, 0.5, 0.8):
          x = x_k[k] + t * (x_k[k + 1] - x_k[k])
          q = t * (1 - t)
          denominator = s[k] + (d[k + 1] + d[k] - 2 * s[k]) * q
          u = u_k[k] + (u_k[k + 1] - u_k[k]) * (s[k] * t**2 + d[k] * q) / denominator
          slope = s[k]**2 * (d[k + 1] * t**2 + 2 * s[k] * q + d[k] * (1 - t)**2) / denominator**2
          ours = _forward(raw, jnp.full((1, 1), x))
          np.testing.assert_allclose(ours[0], u, atol=1e-12)
          np.testing.assert_allclose(ours[1], np.log(slope), atol=1e-10)

  @parameterized.parameters(1.0, 30.0)
  def test_is_strictly_monotone_and_keeps_the_tails(self, scale):
    raw, x = _everywhere(16, scale)
    u, log_slope = jax.jit(_forward)(raw, x)
    order = np.argsort(np.asarray(x)[:, 0])
    self.assertGreaterEqual(np.diff(np.asarray(u)[order, 0]).min(), -2e-6)  # Rounding of 4.
    tail = np.abs(np.asarray(x)[:, 0]) >= _LIMIT
    np.testing.assert_array_equal(np.asarray(u)[tail], np.asarray(x)[tail])
    np.testing.assert_array_equal(np.asarray(log_slope)[tail], 0)
    self.assertTrue((np.abs(np.asarray(u)[~tail]) <= _LIMIT + 2e-6).all())

  @parameterized.product(function=(_forward, _inverse), scale=(0.0, 1.0, 30.0))
  def test_gradients_are_finite_everywhere(self, function, scale):
    raw, x = _everywhere(16, scale)

    def loss(raw, x):
      u, log_slope = function(raw, x)
      # Entries of 1e30 pass through; their squares would not.
      return jnp.where(jnp.abs(x) < 100, u, 0).sum() + (log_slope**2).sum()

    for gradient in jax.jit(jax.grad(loss, argnums=(0, 1)))(raw, x):
      self.assertTrue(np.isfinite(gradient).all())

  def test_carries_a_bimodal_density(self):
    # Widths and heights alone: half of the mass on either side of a gap that has none.
    raw = jnp.zeros((8, 1)).at[:3, 0].set(jnp.array([0.0, 3.0, 0.0])).at[4, 0].set(-9.0)
    x = jnp.linspace(-_LIMIT, _LIMIT, 2001)[:, None]
    u, log_slope = _forward(jnp.tile(raw, (len(x), 1, 1)), x)
    density = np.exp(-0.5 * np.asarray(u)[:, 0]**2 + log_slope) / np.sqrt(2 * np.pi)
    middle, side = density[1000], density[np.abs(np.asarray(x)[:, 0]) > 3.4].max()
    self.assertLess(middle, 0.01 * side)
    np.testing.assert_allclose(density.sum() * 2 * _LIMIT / 2000, 1, atol=2e-3)


if __name__ == "__main__":
  absltest.main()
