"""Each law holds for correct maps and fails, with the reason, for broken ones."""

import functools
import math
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm import testing

_LENGTH = 4
_ROOT = pathlib.Path(__file__).parents[1]
_EPSILON = {"float32": 2e-4, "float64": 1e-8}  # A little more than the tolerance lets through.
# Token n has mean and log-scale of the tokens before it.
_MIX = np.tril(np.random.default_rng(0).normal(size=(2, _LENGTH, _LENGTH)), -1)


def _forward(x, leak=0.0):
  """An autoregressive affine map of x [B, N, ...]; a leak lets token 1 read token 3."""
  mix = jnp.asarray(_MIX, x.dtype).at[:, 1, 3].set(leak)
  mean, raw = jnp.einsum("inm,bm...->ibn...", mix, jnp.tanh(x))
  log_scale = 0.5 * jnp.tanh(raw)
  return (x - mean) * jnp.exp(-log_scale), -log_scale.reshape(len(x), -1).sum(axis=1)


def _inverse(u):
  x = jnp.zeros_like(u)
  for _ in range(_LENGTH):
    mean, raw = jnp.einsum("inm,bm...->ibn...", jnp.asarray(_MIX, u.dtype), jnp.tanh(x))
    log_scale = 0.5 * jnp.tanh(raw)
    x = u * jnp.exp(log_scale) + mean
  return x, log_scale.reshape(len(x), -1).sum(axis=1)


def _data(precision, event=(_LENGTH, 2)):
  return jax.random.normal(jax.random.key(1), (3, *event), jnp.dtype(precision))


def _log_normal(x, scale=1.0):
  """log N(x; 1/2, 0.7^2) of every row, times a constant density."""
  z = (x - 0.5) / 0.7
  constant = math.log(0.7 * math.sqrt(2 * math.pi))
  return (-0.5 * z * z - constant).sum(axis=1) + math.log(scale)


def _with_log_det(change):
  """`_forward`, its log-det changed."""
  def forward(x):
    u, log_det = _forward(x)
    return u, change(log_det)

  return forward


class Float32Test(parameterized.TestCase):

  precision = "float32"

  def setUp(self):
    super().setUp()
    self.enterContext(jax.enable_x64(self.precision == "float64"))
    self.x = _data(self.precision)
    self.tolerance = {"float32": "1e-05", "float64": "1e-10"}[self.precision]

  def _assert_fails(self, message, law, *args, **kwargs):
    with self.assertRaisesRegex(AssertionError, message):
      law(*args, **kwargs)

  @parameterized.parameters((), (5,), (2, 3))
  def test_holds_for_events_of_any_shape(self, *channels):
    x = _data(self.precision, (_LENGTH, *channels))
    testing.assert_round_trip(_forward, _inverse, x)
    for mode in ("reverse", "forward"):
      testing.assert_log_det_matches_jacobian(_forward, x, mode=mode)
      testing.assert_log_det_matches_jacobian(_inverse, x, mode=mode)
      testing.assert_causal(_forward, x, mode=mode)

  def test_events_may_be_numbers_and_change_their_shape(self):
    halve, double = lambda x: (x / 2, jnp.full_like(x, -math.log(2))), lambda u: (
        2 * u, jnp.full_like(u, math.log(2)))
    testing.assert_round_trip(halve, double, self.x[:, 0, 0])
    testing.assert_log_det_matches_jacobian(halve, self.x[:, 0, 0])
    flatten = lambda x: (x.reshape(len(x), -1), jnp.zeros(len(x), x.dtype))
    restore = lambda u: (u.reshape(self.x.shape), jnp.zeros(len(u), u.dtype))
    testing.assert_round_trip(flatten, restore, self.x)
    testing.assert_log_det_matches_jacobian(flatten, self.x)

  def test_an_inverse_off_by_a_little_is_found(self):
    epsilon = _EPSILON[self.precision]

    def inverse(u):
      x, log_det = _inverse(u)
      return x.at[1, 2, 0].add(epsilon), log_det

    self._assert_fails(
        rf"inverse\(forward\(x\)\) is .* in example 1 at \[2, 0\]; expected .* within "
        rf"atol={self.tolerance} and rtol={self.tolerance}, off by (0.0002|1e-08). Examples that "
        "fail: 1 of 3", testing.assert_round_trip, _forward, inverse, self.x)
    testing.assert_round_trip(_forward, inverse, self.x, atol=2 * epsilon)
    self._assert_fails("atol=0 and rtol=0", testing.assert_round_trip, _forward, inverse, self.x,
                       atol=0, rtol=0)
    self._assert_fails("rtol=1e-15", testing.assert_round_trip, _forward, inverse, self.x,
                       rtol=1e-15)

  def test_log_dets_that_do_not_cancel_are_found(self):
    epsilon = _EPSILON[self.precision]
    forward = _with_log_det(lambda log_det: log_det.at[2].add(epsilon))
    self._assert_fails(
        f"log_det of inverse is .* in example 2; expected .* atol={self.tolerance}",
        testing.assert_round_trip, forward, _inverse, self.x)

  @parameterized.named_parameters(
      ("sign", lambda log_det: -log_det, "3 of 3"),
      ("mean", lambda log_det: log_det / 8, "3 of 3"),
      ("half", lambda log_det: log_det / 2, "3 of 3"),
      ("zero", jnp.zeros_like, "3 of 3"),
      ("one_example", lambda log_det: log_det.at[1].add(0.001), "1 of 3"),
      ("batch_mean", lambda log_det: jnp.full_like(log_det, log_det.mean()), "3 of 3"))
  def test_a_wrong_log_det_is_found(self, change, failed):
    expected = np.asarray(_forward(self.x)[1], np.float64)
    error = np.abs(change(_forward(self.x)[1]) - expected)
    worst = error.argmax()
    digits = f"{expected[worst]:.4f}"[:-2]
    self._assert_fails(
        rf"log_det is .* in example {worst}; expected {digits}\d* within "
        f"atol={self.tolerance} and rtol={self.tolerance}, off by {error[worst]:.3g}. "
        f"Examples that fail: {failed}",
        testing.assert_log_det_matches_jacobian, _with_log_det(change), self.x)

  def test_a_missing_term_is_found(self):
    def forward(x):
      u, log_det = _forward(x)
      return u * 1.5, log_det + 7 * math.log(1.5)  # Of 8 entries.

    self._assert_fails(f"off by {math.log(1.5):.3g}. Examples that fail: 3 of 3",
                       testing.assert_log_det_matches_jacobian, forward, self.x)

  def test_a_map_that_loses_information_is_found(self):
    def forward(x):
      u, log_det = _forward(x)
      return u.at[1, 2, 0].set(u[1, 2, 1]), log_det

    self._assert_fails("The Jacobian of example 1 is singular",
                       testing.assert_log_det_matches_jacobian, forward, self.x)
    self._assert_fails("expected events of equal size", testing.assert_log_det_matches_jacobian,
                       lambda x: (x[:, 1:], x[:, 0, 0]), self.x)

  def test_examples_that_mix_are_found(self):
    def forward(x):
      u, log_det = _forward(x)
      return u.at[0].add(0.125 * x[2]), log_det  # The Jacobian of every example is unchanged.

    message = "Example 0 of the output depends on example 2 .* derivative is 0.125, expected exact"
    self._assert_fails(message, testing.assert_log_det_matches_jacobian, forward, self.x)
    self._assert_fails(message, testing.assert_causal, forward, self.x)

  def test_gradients_that_are_not_finite_are_found(self):
    def forward(x):
      return x + 0 * jnp.sqrt(0 * x), jnp.zeros(len(x), x.dtype)

    for law in (testing.assert_log_det_matches_jacobian, testing.assert_causal):
      self._assert_fails("The Jacobian of example 0 is not finite", law, forward, self.x)

  @parameterized.parameters(1e-6, 1e-30)
  def test_one_leaking_token_is_found(self, leak):
    leaking = functools.partial(_forward, leak=leak)
    for mode in ("reverse", "forward"):
      self._assert_fails(
          r"Output token 1 depends on input token 3 in example \d: the largest derivative is .*, "
          "expected exactly 0 from token 2 on. Pairs of tokens that leak: 1",
          testing.assert_causal, leaking, self.x, mode=mode)

  def test_strict_causality(self):
    mean = lambda x: x - _forward(x)[0] * jnp.exp(-_log_scale(x))
    testing.assert_causal(mean, self.x, strict=False)
    self._assert_fails(
        r"Output token (\d) depends on input token \1 in .* exactly 0 from token \1 on. Pairs of "
        "tokens that leak: 4", testing.assert_causal, _forward, self.x, strict=True)
    testing.assert_causal(_log_scale, self.x, strict=True)

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

  @parameterized.parameters(1, 2, 3)
  def test_integrals(self, dimension):
    box = dict(low=-6, high=[7] * dimension)
    testing.assert_normalised(_log_normal, dimension, **box)
    atol = {"float32": "0.0001", "float64": "1e-06"}[self.precision]
    self._assert_fails(
        rf"integrates to 1\.0(1|0999)\d*; expected 1 within atol={atol}, off by 0.01",
        testing.assert_normalised, functools.partial(_log_normal, scale=1.01), dimension, **box)
    testing.assert_normalised(functools.partial(_log_normal, scale=1.01), dimension, **box,
                              atol=0.0101)

  def test_integrals_over_a_bad_grid_say_so(self):
    self._assert_fails(r"border from low=\[-6.0\] to high=\[0.5\] is 0.57; widen",
                       testing.assert_normalised, _log_normal, 1, low=-6, high=0.5)
    self._assert_fails("raise points=5 if", testing.assert_normalised, _log_normal, 1,
                       low=-6, high=7, points=5)

  def test_a_density_may_be_zero_and_never_infinite(self):
    box = dict(low=0.0, high=3.0, points=3001)
    uniform = lambda x: jnp.where((x[:, 0] > 1) & (x[:, 0] < 2), 0, -jnp.inf)
    testing.assert_normalised(uniform, 1, **box, atol=2e-3)
    for value in (jnp.inf, jnp.nan):
      self._assert_fails(r"exp\(log_prob\) is (inf|nan) at x=\[0.0\]", testing.assert_normalised,
                         lambda x, value=value: jnp.full(len(x), value), 1, **box)

  def test_the_identity(self):
    identity = lambda x: (x, jnp.zeros(len(x), x.dtype))
    testing.assert_starts_as_identity(identity, self.x)
    self._assert_fails(
        r"u of the initial map is .* in example 2 at \[3, 1\]; expected .* within atol=0 and "
        "rtol=0, off by .*. Examples that fail: 1 of 3", testing.assert_starts_as_identity,
        lambda x: (x.at[2, 3, 1].multiply(1 + 1e-6), identity(x)[1]), self.x)
    self._assert_fails(
        "log_det of the initial map is 1e-30 in example 1; expected 0",
        testing.assert_starts_as_identity, lambda x: (x, identity(x)[1].at[1].add(1e-30)), self.x)
    self._assert_fails(r"u of the initial map has shape \(3, 2, 4\); expected \(3, 4, 2\)",
                       testing.assert_starts_as_identity,
                       lambda x: (x.swapaxes(1, 2), identity(x)[1]), self.x)

  @parameterized.named_parameters(
      ("scalar", lambda x: (x, 0.0), r"forward returns shapes \(3, 4, 2\) and, of log_det, \(\)"),
      ("column", lambda x: (x, x[:, 0, :1]), r"log_det, \(3, 1\); expected the batch, \(3,\)"),
      ("per_token", lambda x: (x, x[..., 0]), r"of log_det, \(3, 4\)"),
      ("no_batch", lambda x: (x[0], x[:, 0, 0]), r"forward returns shapes \(4, 2\)"),
      ("alone", lambda x: x, r"forward returns .*; expected \(output, log_det\)"),
      ("not_finite", lambda x: (x, x[:, 0, 0].at[1].set(jnp.nan)),
       "log_det of forward is not finite in example 1"),
      ("infinite", lambda x: (x.at[2].set(jnp.inf), x[:, 0, 0]),
       "The output of forward is not finite in example 2"),
      ("half", lambda x: (x, x[:, 0, 0].astype(jnp.bfloat16)),
       "log_det of forward has type bfloat16; expected that of its input, float"))
  def test_bad_outputs_are_named(self, forward, message):
    for law in (testing.assert_log_det_matches_jacobian, testing.assert_starts_as_identity):
      self._assert_fails(message, law, forward, self.x)
    self._assert_fails(message, testing.assert_round_trip, forward, _inverse, self.x)
    self._assert_fails(message.replace("forward", "inverse"), testing.assert_round_trip, _forward,
                       forward, self.x)

  def test_tokens_and_shapes_must_fit(self):
    self._assert_fails(r"shape \(3, 2, 4\); expected the batch and the tokens of x first, \(3, 4\)",
                       testing.assert_causal, lambda x: x.swapaxes(1, 2), self.x)
    self._assert_fails(r"inverse\(forward\(x\)\) has shape \(3, 8\); expected \(3, 4, 2\)",
                       testing.assert_round_trip, _forward,
                       lambda u: (u.reshape(3, 8), u[:, 0, 0]), self.x)
    self._assert_fails(r"log_prob has shape \(2001, 1\) .*; expected \(2001,\)",
                       testing.assert_normalised, lambda x: x, 1, low=0, high=1)
    self._assert_fails("type bfloat16", testing.assert_normalised,
                       lambda x: x[:, 0].astype(jnp.bfloat16), 1, low=0, high=1)

  @parameterized.named_parameters(
      ("scalar", lambda x: x[0, 0, 0], r"x has shape \(\)"),
      ("empty", lambda x: x[:0], r"x has shape \(0, 4, 2\)"),
      ("integers", lambda x: x.astype(int), "type int"),
      ("half", lambda x: x.astype(jnp.bfloat16), "type bfloat16; expected .B, "),
      ("not_finite", lambda x: x.at[1, 2, 0].set(jnp.nan), r"x is not finite at \(1, 2, 0\)"))
  def test_bad_batches_are_named(self, change, message):
    x = change(self.x)
    for law in (functools.partial(testing.assert_round_trip, _forward, _inverse),
                *(functools.partial(law, _forward) for law in (
                    testing.assert_log_det_matches_jacobian, testing.assert_causal,
                    testing.assert_starts_as_identity))):
      with self.assertRaisesRegex(ValueError, message):
        law(x)

  def test_bad_arguments_are_named(self):
    with self.assertRaisesRegex(ValueError, r"x has shape \(3,\) .*; expected \[B, N, ...\]"):
      testing.assert_causal(_forward, self.x[:, 0, 0])
    for dimension in (0, 4, 1.5):
      with self.assertRaisesRegex(ValueError, f"dimension={dimension} .* expected 1, 2 or 3"):
        testing.assert_normalised(_log_normal, dimension, low=0, high=1)
    with self.assertRaisesRegex(ValueError, "mode='both' is not supported; expected 'reverse' or"):
      testing.assert_causal(_forward, self.x, mode="both")
    for bad in (dict(low=1, high=1), dict(low=0, high=jnp.inf), dict(low=0, high=1, points=2),
                dict(low=[0, 2], high=[1, 1])):
      with self.assertRaisesRegex(ValueError, "expected finite ends with low < high"):
        testing.assert_normalised(_log_normal, 2, **bad)


class Float64Test(Float32Test):

  precision = "float64"


def _log_scale(x):
  return 0.5 * jnp.tanh(jnp.einsum("nm,bm...->bn...", jnp.asarray(_MIX[1], x.dtype), jnp.tanh(x)))


class DocumentationTest(absltest.TestCase):

  def test_the_snippet_runs(self):
    text = (_ROOT / "docs" / "testing_flows.md").read_text()
    (snippet,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    self.assertLessEqual(len(snippet.splitlines()), 40)
    run = lambda code: exec(compile(code, "docs/testing_flows.md", "exec"), {})
    run(snippet)
    wrong = re.sub(r"axis=1\), (-?)log_scale", lambda match: (
        "axis=1), " + ("" if match[1] else "-") + "log_scale"), snippet)
    (message,) = re.findall(r"```\nAssertionError: (.*?)```", text, re.DOTALL)
    digits = re.compile(r"(\d\.\d{3})\d+")
    with self.assertRaises(AssertionError) as raised:
      run(wrong)
    self.assertEqual(*(digits.sub(r"\1", " ".join(text.split()))
                       for text in (str(raised.exception), message)))


if __name__ == "__main__":
  absltest.main()
