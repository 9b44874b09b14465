"""Derivatives of examples and tokens, and what is wrong with those that have none."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from ntm import testing
from tests.helpers import affine_map


class Float32Test(affine_map.PrecisionTest):

  def test_examples_that_mix_are_found(self):
    def forward(x):
      u, log_det = affine_map.forward(x)
      return u.at[0].add(0.125 * x[2]), log_det  # The Jacobian of every example is unchanged.

    message = "Example 0 of the output depends on example 2 .* derivative is 0.125, expected exact"
    self.assert_fails(message, testing.assert_log_det_matches_jacobian, forward, self.x)
    self.assert_fails(message, testing.assert_causal, forward, self.x)

  def test_gradients_that_are_not_finite_are_found(self):
    def forward(x):
      return x + 0 * jnp.sqrt(0 * x), jnp.zeros(len(x), x.dtype)

    for law in (testing.assert_log_det_matches_jacobian, testing.assert_causal):
      self.assert_fails("The Jacobian of example 0 is not finite", law, forward, self.x)

  def test_token_dependence_is_that_of_the_largest_derivative(self):
    weights = np.arange(16.0).reshape(4, 4) - 8
    mix = lambda x: jnp.einsum("nm,bmc->bnc", jnp.asarray(weights, x.dtype), x)
    for function in (mix, lambda x: (mix(x), None)):
      np.testing.assert_array_equal(testing.token_dependence(function, self.x),
                                    np.abs(weights)[None].repeat(3, axis=0))

  def test_custom_vjps_and_while_loops_have_their_jacobian(self):
    reverse = jax.custom_vjp(lambda x: 3 * x)
    reverse.defvjp(lambda x: (3 * x, None), lambda _, g: (3 * g,))
    log_det = lambda x: jnp.full(len(x), 8 * math.log(3), x.dtype)
    testing.assert_log_det_matches_jacobian(lambda x: (reverse(x), log_det(x)), self.x)
    triple = lambda x: jax.lax.while_loop(lambda c: c[0] < 1, lambda c: (c[0] + 1, 3 * c[1]),
                                          (0, x))[1]
    testing.assert_log_det_matches_jacobian(lambda x: (triple(x), log_det(x)), self.x,
                                            mode="forward")


class Float64Test(Float32Test):

  precision = "float64"


if __name__ == "__main__":
  absltest.main()
