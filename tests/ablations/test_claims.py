"""Verdicts follow from differences over seeds."""

import math

import numpy as np
from absl.testing import absltest, parameterized
from scipy import stats

from ntm.ablations import claims
from ntm.ablations.claims import CONFIRMED, REFUTED, UNDECIDED, Claim, Comparison, Divergence
from tests.helpers import ablation_rows

_A, _B = ("base", "raw"), ("no_transporter", "refined")
_LOW, _HIGH, _NOISY = [1.0, 1.1, 1.2], [2.0, 2.1, 2.3], [0.5, 2.0, 1.2]


def _verdict(a, b, metric="frechet_distance", **how):
  rows = ablation_rows.measured(metric, base__raw=a, no_transporter__refined=b)
  return claims.verdict(Claim("", True, (Comparison(metric, _A, _B, **how),)), rows)


class ClaimsTest(parameterized.TestCase):

  @parameterized.parameters(
      (_LOW, _HIGH, CONFIRMED), (_HIGH, _LOW, REFUTED), (_LOW, _NOISY, UNDECIDED),
      (_LOW, _LOW, UNDECIDED), (_LOW[:2], _HIGH[:2], UNDECIDED), ([], [], UNDECIDED),
      (_LOW, _HIGH[:2], UNDECIDED))
  def test_lower_is_better(self, a, b, expected):
    self.assertEqual(_verdict(a, b)[0], expected)

  @parameterized.parameters((_HIGH, _LOW, CONFIRMED), (_LOW, _HIGH, REFUTED))
  def test_higher_is_better(self, a, b, expected):
    self.assertEqual(_verdict(a, b, "precision")[0], expected)

  def test_exchanged_models_exchange_the_verdict(self):
    opposite = {CONFIRMED: REFUTED, REFUTED: CONFIRMED, UNDECIDED: UNDECIDED}
    draws = np.random.default_rng(0)
    for _ in range(20):
      a, b = draws.normal(size=(2, 4)) + [[0], [draws.normal()]]
      self.assertEqual(_verdict(list(b), list(a))[0], opposite[_verdict(list(a), list(b))[0]])

  def test_what_both_models_share_cancels(self):
    shared = np.array([0, 10, 20])
    self.assertEqual(_verdict(list(shared + _LOW), list(shared + _HIGH))[0], CONFIRMED)

  def test_the_factor_asks_for_more_or_allows_for_less(self):
    self.assertEqual(_verdict(_LOW, _HIGH, factor=0.6)[0], CONFIRMED)
    self.assertEqual(_verdict(_LOW, _HIGH, factor=0.4)[0], REFUTED)
    self.assertEqual(_verdict(_HIGH, _LOW, factor=3.0)[0], CONFIRMED)

  def test_the_interval_is_that_of_a_t_test(self):
    d = np.array([0.3, 0.5, 0.1, 0.2])
    low, high = claims.interval(d)
    expected = stats.ttest_1samp(d, 0).confidence_interval(0.95)
    np.testing.assert_allclose((low, high), expected)

  @parameterized.parameters(
      (_LOW, [None] * 3, CONFIRMED), ([None] * 3, _LOW, REFUTED),
      (_LOW, [None, 3.0, 3.0], CONFIRMED),
      (_HIGH, [None, 1.0, 1.0], UNDECIDED), ([None] * 3, [None] * 3, UNDECIDED))
  def test_a_diverged_training_is_worse_than_any_other(self, a, b, expected):
    for metric in ("frechet_distance", "precision"):
      sign = 1 if metric == "frechet_distance" else -1
      flip = lambda values, sign=sign: [value and sign * value for value in values]
      self.assertEqual(_verdict(flip(a), flip(b), metric)[0], expected)

  @parameterized.parameters(([None] * 3, CONFIRMED), (_LOW, REFUTED), ([None, 1.0, 1.0], UNDECIDED),
                            ([None] * 2, UNDECIDED))
  def test_divergence_is_counted(self, values, expected):
    rows = ablation_rows.measured("frechet_distance", unaligned__refined=values)
    claim = Claim("", True, (Divergence(("unaligned", "refined")),))
    self.assertEqual(claims.verdict(claim, rows)[0], expected)

  def test_all_parts_must_hold(self):
    rows = ablation_rows.measured("frechet_distance", base__raw=_LOW, no_transporter__refined=_HIGH,
                                  coupling__refined=_NOISY)
    better, worse, open_ = (Comparison("frechet_distance", *models) for models in (
        (_A, _B), (_B, _A), (_A, ("coupling", "refined"))))
    verdict = lambda *parts: claims.verdict(Claim("", True, parts), rows)[0]
    self.assertEqual(verdict(better, better), CONFIRMED)
    self.assertEqual(verdict(better, open_), UNDECIDED)
    self.assertEqual(verdict(better, open_, worse), REFUTED)

  def test_the_reason_is_one_line_with_the_figures(self):
    _, reason = _verdict(_LOW, _HIGH, factor=0.9)
    self.assertRegex(reason, r"^Fréchet distance 1\.100 against 0\.9 x 2\.133, 3 seeds: better by "
                             r"0\.\d+ to \d\.\d+$")
    self.assertEqual(_verdict([], [])[1], "not yet measured")
    self.assertEqual(_verdict(_LOW, _HIGH[:2])[1], "2 of 3 seeds measured")

  def test_a_likelihood_is_of_the_run_at_its_number_of_steps(self):
    rows = {key: row | {"num_steps": 8 if key[2] == "T = 8" else 4} for key, row in
            ablation_rows.measured("nll_nats_per_dim", base__refined=[0.5]).items()}
    rows |= {("base", 0, "raw"): ablation_rows.row("base", "raw", num_steps=4),
             ("base", 0, "denoiser"): ablation_rows.row("base", "denoiser", num_steps=8)}
    self.assertEqual(claims.figure(rows, _A, 0, "nll_nats_per_dim"), 0.5)
    self.assertIsNone(claims.figure(rows, ("base", "denoiser"), 0, "nll_nats_per_dim"))
    self.assertIsNone(claims.figure(rows, _A, 1, "nll_nats_per_dim"))
    self.assertIsNone(claims.figure(rows, _A, 0, "recall"))

  def test_figures_of_one_model_can_be_compared(self):
    rows = {key: row | {"gaussian_kl_nats": 2.0} for key, row in ablation_rows.measured(
        "kl_to_truth_nats", grid__exact=[0.1, 0.2, 0.1]).items()}
    part = Comparison("kl_to_truth_nats", ("grid", "exact"), ("grid", "exact"),
                      worse_metric="gaussian_kl_nats")
    verdict, reason = claims.verdict(Claim("", False, (part,)), rows)
    self.assertEqual(verdict, CONFIRMED)
    self.assertIn("against 2.000 KL of the best Gaussian chain, nats", reason)
    self.assertTrue(math.isfinite(claims.interval(np.array([1.0, 2.0]))[0]))


if __name__ == "__main__":
  absltest.main()
