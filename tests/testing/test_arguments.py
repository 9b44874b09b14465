"""Wrong arguments and functions are named, with what to do."""

import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm import testing
from tests.helpers import affine_map


def _log_uniform(x):
  """The density of the unit cube."""
  return jnp.zeros(len(x), x.dtype)


class Float32Test(affine_map.PrecisionTest):

  @parameterized.named_parameters(
      ("scalar", lambda x: (x, 0.0), r"\(3, 4, 2\) and log_det of shape \(\); expected"),
      ("column", lambda x: (x, x[:, 0, :1]), r"log_det of shape \(3, 1\); expected .* and \(3,\)"),
      ("per_token", lambda x: (x, x[..., 0]), r"log_det of shape \(3, 4\)"),
      ("no_batch", lambda x: (x[0], x[:, 0, 0]), r"forward returns an output of shape \(4, 2\)"),
      ("alone", lambda x: x,
       r"forward returns an array of shape \(3, 4, 2\); expected \(output, log_det\)"),
      ("not_finite", lambda x: (x, x[:, 0, 0].at[1].set(jnp.nan)),
       "log_det of forward is not finite in example 1"),
      ("infinite", lambda x: (x.at[2].set(jnp.inf), x[:, 0, 0]),
       "The output of forward is not finite in example 2"),
      ("half", lambda x: (x, x[:, 0, 0].astype(jnp.bfloat16)),
       "log_det of forward has type bfloat16; expected that of its input, float"))
  def test_bad_outputs_are_named(self, forward, message):
    for law in (testing.assert_log_det_matches_jacobian, testing.assert_starts_as_identity):
      self.assert_fails(message, law, forward, self.x)
    self.assert_fails(message, testing.assert_round_trip, forward, affine_map.inverse, self.x)
    self.assert_fails(message.replace("forward", "inverse"), testing.assert_round_trip,
                      affine_map.forward, forward, self.x)

  def test_tokens_and_shapes_must_fit(self):
    self.assert_fails(r"shape \(3, 2, 4\); expected the batch and the tokens of x first, \(3, 4\)",
                      testing.assert_causal, lambda x: x.swapaxes(1, 2), self.x)
    self.assert_fails(r"inverse\(forward\(x\)\) has shape \(3, 8\); expected \(3, 4, 2\)",
                      testing.assert_round_trip, affine_map.forward,
                      lambda u: (u.reshape(3, 8), u[:, 0, 0]), self.x)
    self.assert_fails(r"log_prob has shape \(2001, 1\) .*; expected \(2001,\)",
                      testing.assert_normalised, lambda x: x, 1, low=0, high=1)
    self.assert_fails("type bfloat16", testing.assert_normalised,
                      lambda x: x[:, 0].astype(jnp.bfloat16), 1, low=0, high=1)

  @parameterized.named_parameters(
      ("scalar", lambda x: x[0, 0, 0], r"x has shape \(\)"),
      ("empty", lambda x: x[:0], r"x has shape \(0, 4, 2\)"),
      ("integers", lambda x: x.astype(int), "type int"),
      ("half", lambda x: x.astype(jnp.bfloat16), "type bfloat16; expected .B, "),
      ("not_finite", lambda x: x.at[1, 2, 0].set(jnp.nan), r"x is not finite at \(1, 2, 0\)"))
  def test_bad_batches_are_named(self, change, message):
    x = change(self.x)
    for law in (lambda x: testing.assert_round_trip(affine_map.forward, affine_map.inverse, x),
                *(functools.partial(law, affine_map.forward) for law in (
                    testing.assert_log_det_matches_jacobian, testing.assert_causal,
                    testing.assert_starts_as_identity))):
      with self.assertRaisesRegex(ValueError, message):
        law(x)

  @parameterized.parameters("abc", None)
  def test_what_is_no_array_is_named(self, x):
    self.assert_fails(f"x is of type {type(x).__name__}; expected an array", testing.assert_causal,
                      affine_map.forward, x, error=ValueError)

  @parameterized.parameters(-1.0, math.nan, math.inf, "1e-5", True, ([1e-5, 1e-5],))
  def test_bad_tolerances_are_named(self, value):
    for law, functions in ((testing.assert_round_trip, (affine_map.forward, affine_map.inverse)),
                           (testing.assert_log_det_matches_jacobian, (affine_map.forward,))):
      for name in ("atol", "rtol"):
        self.assert_fails(f"^{name}={re.escape(repr(value))}; expected a finite number, 0 or more",
                          law, *functions, self.x, error=ValueError, **{name: value})
    self.assert_fails("^atol=.*; expected a finite number", testing.assert_normalised, _log_uniform,
                      1, low=0, high=1, atol=value, error=ValueError)

  @parameterized.parameters(
      *((dict(dimension=dimension), rf"^dimension={dimension!r}; expected an integer from 1 to 3")
        for dimension in (0, 4, 1.5, 2.0, "2", None, True)),
      *((dict(points=points), f"^points={points!r}; expected an integer of at least 3")
        for points in (2, 20.5, "20", -5)),
      *((dict(low=low), rf"^low={re.escape(repr(low))}; expected one number, or one per axis of "
         "dimension=2")
        for low in ([0, 0, 0], [0], "0", None, [[0, 0]], 1j)),
      (dict(low=1), "expected finite ends with low < high"),
      (dict(high=math.inf), "expected finite ends with low < high"),
      (dict(low=[0, 2]), r"^low=\[0.0, 2.0\], high=\[1.0, 1.0\]; expected finite ends"))
  def test_bad_boxes_are_named(self, changes, message):
    arguments = dict(dimension=2, low=0, high=1) | changes
    self.assert_fails(message, testing.assert_normalised, _log_uniform, error=ValueError,
                      **arguments)

  def test_other_bad_arguments_are_named(self):
    self.assert_fails(r"x has shape \(3,\) .*; expected \[B, N, ...\]", testing.assert_causal,
                      affine_map.forward, self.x[:, 0, 0], error=ValueError)
    self.assert_fails("mode='both' is not supported; expected 'reverse' or", testing.assert_causal,
                      affine_map.forward, self.x, mode="both", error=ValueError)
    self.assert_fails("forward is 3; expected a function", testing.assert_starts_as_identity, 3,
                      self.x, error=ValueError)
    self.assert_fails("log_prob is 3; expected a function", testing.assert_normalised, 3, 1, low=0,
                      high=1, error=ValueError)

  @parameterized.named_parameters(
      ("three", lambda x: (x, x[:, 0, 0], {}), "a tuple of 3"),
      ("one", lambda x: (x,), "a tuple of 1"),
      ("list", lambda x: [x, x[:, 0, 0]], "list"))
  def test_other_numbers_of_outputs_are_named(self, function, found):
    for law in (testing.assert_log_det_matches_jacobian, testing.assert_starts_as_identity):
      self.assert_fails(rf"forward returns {found}; expected \(output, log_det\)", law, function,
                        self.x)
    self.assert_fails(rf"function returns {found}; expected u or \(u, log_det\)",
                      testing.assert_causal, function, self.x)
    self.assert_fails("forward returns .* and NoneType; expected two arrays",
                      testing.assert_starts_as_identity, lambda x: (x, None), self.x)

  @parameterized.named_parameters(
      ("numpy", lambda x: (np.tanh(x), -np.ones(len(x), x.dtype))),
      ("branch", lambda x: (x if x[0, 0, 0] > 0 else 2 * x, jnp.zeros(len(x), x.dtype))))
  def test_functions_that_jax_cannot_trace_are_named(self, function):
    message = "cannot be traced by JAX .*; write it with jax.numpy in place of NumPy"
    for mode in ("reverse", "forward"):
      self.assert_fails(f"^forward {message}", testing.assert_log_det_matches_jacobian, function,
                        self.x, mode=mode, error=ValueError)
      self.assert_fails(f"^function {message}", testing.assert_causal, function, self.x, mode=mode,
                        error=ValueError)


class Float64Test(Float32Test):

  precision = "float64"


class WithoutFloat64Test(absltest.TestCase):

  def test_float64_is_refused_where_jax_would_round_it(self):
    x = affine_map.data("float32")
    for law in (testing.assert_causal, testing.assert_log_det_matches_jacobian):
      with self.assertRaisesRegex(ValueError, "x has type float64, which JAX reads as float32"):
        law(affine_map.forward, np.asarray(x, np.float64))
      law(affine_map.forward, np.asarray(x, np.float32))
      with jax.enable_x64(True):
        law(affine_map.forward, np.asarray(x, np.float64))


if __name__ == "__main__":
  absltest.main()
