"""Each law holds for correct maps and fails, with the reason, for broken ones."""

import functools
import math
import pathlib
import re

import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm import testing
from tests.helpers import affine_map

_ROOT = pathlib.Path(__file__).parents[2]
_EPSILON = {"float32": 2e-4, "float64": 1e-8}  # A little more than the tolerance lets through.


def _with_log_det(change):
  """`forward`, its log-det changed."""
  def forward(x):
    u, log_det = affine_map.forward(x)
    return u, change(log_det)

  return forward


class Float32Test(affine_map.PrecisionTest):

  @parameterized.parameters((), (5,), (2, 3))
  def test_holds_for_events_of_any_shape(self, *channels):
    x = affine_map.data(self.precision, (affine_map.LENGTH, *channels))
    testing.assert_round_trip(affine_map.forward, affine_map.inverse, x)
    for mode in ("reverse", "forward"):
      testing.assert_log_det_matches_jacobian(affine_map.forward, x, mode=mode)
      testing.assert_log_det_matches_jacobian(affine_map.inverse, x, mode=mode)
      testing.assert_causal(affine_map.forward, x, mode=mode)

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
      x, log_det = affine_map.inverse(u)
      return x.at[1, 2, 0].add(epsilon), log_det

    self.assert_fails(
        rf"inverse\(forward\(x\)\) is .* in example 1 at \[2, 0\]; expected .* within "
        rf"atol={self.tolerance} and rtol={self.tolerance}, off by (0.0002|1e-08). Examples that "
        "fail: 1 of 3", testing.assert_round_trip, affine_map.forward, inverse, self.x)
    testing.assert_round_trip(affine_map.forward, inverse, self.x, atol=2 * epsilon)
    for tolerance in (dict(atol=0, rtol=0), dict(rtol=1e-15)):
      self.assert_fails(" and ".join(f"{name}={value}" for name, value in tolerance.items()),
                        testing.assert_round_trip, affine_map.forward, inverse, self.x, **tolerance)

  def test_log_dets_that_do_not_cancel_are_found(self):
    epsilon = _EPSILON[self.precision]
    forward = _with_log_det(lambda log_det: log_det.at[2].add(epsilon))
    self.assert_fails(
        f"log_det of inverse is .* in example 2; expected .* atol={self.tolerance}",
        testing.assert_round_trip, forward, affine_map.inverse, self.x)

  @parameterized.named_parameters(
      ("sign", lambda log_det: -log_det, "3 of 3"),
      ("mean", lambda log_det: log_det / 8, "3 of 3"),
      ("half", lambda log_det: log_det / 2, "3 of 3"),
      ("zero", jnp.zeros_like, "3 of 3"),
      ("one_example", lambda log_det: log_det.at[1].add(0.001), "1 of 3"),
      ("batch_mean", lambda log_det: jnp.full_like(log_det, log_det.mean()), "3 of 3"))
  def test_a_wrong_log_det_is_found(self, change, failed):
    expected = np.asarray(affine_map.forward(self.x)[1], np.float64)
    error = np.abs(change(affine_map.forward(self.x)[1]) - expected)
    worst = error.argmax()
    digits = f"{expected[worst]:.4f}"[:-2]
    self.assert_fails(
        rf"log_det is .* in example {worst}; expected {digits}\d* within "
        f"atol={self.tolerance} and rtol={self.tolerance}, off by {error[worst]:.3g}. "
        f"Examples that fail: {failed}",
        testing.assert_log_det_matches_jacobian, _with_log_det(change), self.x)

  def test_a_missing_term_is_found(self):
    def forward(x):
      u, log_det = affine_map.forward(x)
      return u * 1.5, log_det + 7 * math.log(1.5)  # Of 8 entries.

    self.assert_fails(f"off by {math.log(1.5):.3g}. Examples that fail: 3 of 3",
                      testing.assert_log_det_matches_jacobian, forward, self.x)

  def test_a_map_that_loses_information_is_found(self):
    def forward(x):
      u, log_det = affine_map.forward(x)
      return u.at[1, 2, 0].set(u[1, 2, 1]), log_det

    self.assert_fails("The Jacobian of example 1 is singular",
                      testing.assert_log_det_matches_jacobian, forward, self.x)
    self.assert_fails("expected as many entries per example",
                      testing.assert_log_det_matches_jacobian,
                      lambda x: (x[:, 1:], x[:, 0, 0]), self.x)

  @parameterized.parameters(1e-6, 1e-30)
  def test_one_leaking_token_is_found(self, leak):
    leaking = functools.partial(affine_map.forward, leak=leak)
    for mode in ("reverse", "forward"):
      self.assert_fails(
          r"Output token 1 depends on input token 3 in example \d: the largest derivative is .*, "
          "expected exactly 0 from token 2 on. Pairs of tokens that leak: 1",
          testing.assert_causal, leaking, self.x, mode=mode)

  def test_strict_causality(self):
    mean = lambda x: x - affine_map.forward(x)[0] * jnp.exp(-affine_map.log_scale(x))
    testing.assert_causal(mean, self.x, strict=False)
    self.assert_fails(
        r"Output token (\d) depends on input token \1 in .* exactly 0 from token \1 on. Pairs of "
        "tokens that leak: 4", testing.assert_causal, affine_map.forward, self.x, strict=True)
    testing.assert_causal(affine_map.log_scale, self.x, strict=True)

  def test_the_identity(self):
    identity = lambda x: (x, jnp.zeros(len(x), x.dtype))
    testing.assert_starts_as_identity(identity, self.x)
    self.assert_fails(
        r"u of the initial map is .* in example 2 at \[3, 1\]; expected .* within atol=0 and "
        "rtol=0, off by .*. Examples that fail: 1 of 3", testing.assert_starts_as_identity,
        lambda x: (x.at[2, 3, 1].multiply(1 + 1e-6), identity(x)[1]), self.x)
    self.assert_fails(
        "log_det of the initial map is 1e-30 in example 1; expected 0",
        testing.assert_starts_as_identity, lambda x: (x, identity(x)[1].at[1].add(1e-30)), self.x)
    self.assert_fails(r"u of the initial map has shape \(3, 2, 4\); expected \(3, 4, 2\)",
                      testing.assert_starts_as_identity,
                      lambda x: (x.swapaxes(1, 2), identity(x)[1]), self.x)


class Float64Test(Float32Test):

  precision = "float64"


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
