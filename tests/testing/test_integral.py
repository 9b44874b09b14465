"""Densities integrate to 1, and what is said of those that do not."""

import functools
import math

import jax.numpy as jnp
from absl.testing import absltest, parameterized

from ntm import testing
from tests.helpers import affine_map


def _log_normal(x, scale=1.0):
  """log N(x; 1/2, 0.7^2) of every row, times a constant density."""
  z = (x - 0.5) / 0.7
  constant = math.log(0.7 * math.sqrt(2 * math.pi))
  return (-0.5 * z * z - constant).sum(axis=1) + math.log(scale)


class Float32Test(affine_map.PrecisionTest):

  @parameterized.parameters(1, 2, 3)
  def test_integrals(self, dimension):
    box = dict(low=-6, high=[7] * dimension)
    testing.assert_normalised(_log_normal, dimension, **box)
    atol = {"float32": "0.0001", "float64": "1e-06"}[self.precision]
    self.assert_fails(
        rf"integrates to 1\.0(1|0999)\d*; expected 1 within atol={atol}, off by 0.01",
        testing.assert_normalised, functools.partial(_log_normal, scale=1.01), dimension, **box)
    testing.assert_normalised(functools.partial(_log_normal, scale=1.01), dimension, **box,
                              atol=0.0101)

  def test_integrals_over_a_bad_grid_say_so(self):
    self.assert_fails(r"border from low=\[-6.0\] to high=\[0.5\] is 0.57; widen",
                      testing.assert_normalised, _log_normal, 1, low=-6, high=0.5)
    self.assert_fails("raise points=5 if", testing.assert_normalised, _log_normal, 1,
                       low=-6, high=7, points=5)

  def test_a_density_may_be_zero_and_never_infinite(self):
    box = dict(low=0.0, high=3.0, points=3001)
    uniform = lambda x: jnp.where((x[:, 0] > 1) & (x[:, 0] < 2), 0, -jnp.inf)
    testing.assert_normalised(uniform, 1, **box, atol=2e-3)
    for value in (jnp.inf, jnp.nan):
      self.assert_fails(r"exp\(log_prob\) is (inf|nan) at x=\[0.0\]", testing.assert_normalised,
                         lambda x, value=value: jnp.full(len(x), value), 1, **box)


class Float64Test(Float32Test):

  precision = "float64"


if __name__ == "__main__":
  absltest.main()
