import math
import types

import jax
import numpy as np
from absl.testing import absltest

from ntm.likelihood import estimates


class _Model:
  """Step likelihoods that are a function of the key alone."""

  def log_prob(self, rng, images, labels, num_steps):
    values = jax.random.normal(rng, (num_steps, len(images)))
    return types.SimpleNamespace(step_SB=values)


class EstimatesTest(absltest.TestCase):

  def test_steps_are_averaged_over_the_draws_of_their_keys(self):
    rng, images, reports = jax.random.key(0), np.zeros((5, 2, 2, 1)), []
    step_SB = estimates.step_log_prob(_Model(), rng, images, None, 3, 2,
                                      lambda *done: reports.append(done))
    expected = np.mean([jax.random.normal(key, (3, 5)) for key in jax.random.split(rng, 2)], axis=0)
    np.testing.assert_array_equal(step_SB, expected)
    self.assertEqual(reports, [(1, 2), (2, 2)])

  def test_nll_is_per_dimension_and_its_error_over_images(self):
    step_SB = np.random.default_rng(0).normal(size=(3, 50))
    mean_S, error = estimates.nll_per_dim(step_SB, (2, 2, 1))
    np.testing.assert_allclose(mean_S, -step_SB.mean(axis=1) / 4)
    self.assertAlmostEqual(error, step_SB.mean(axis=0).std(ddof=1) / 4 / math.sqrt(50))

  def test_equal_weights_are_the_bound_at_every_count(self):
    table = estimates.bits_per_dim(np.full((5, 7), -8 * math.log(2)), (2, 2, 1))
    self.assertEqual(list(table), ["1", "2", "4"])
    for row in table.values():
      self.assertAlmostEqual(row["mean"], 2, places=5)
      self.assertAlmostEqual(row["standard_error"], 0, places=6)

  def test_more_draws_tighten_the_bound(self):
    weights_JB = np.random.default_rng(0).normal(size=(64, 20))
    means = [row["mean"] for row in estimates.bits_per_dim(weights_JB, (2, 2, 1)).values()]
    self.assertEqual(means, sorted(means, reverse=True))

  def test_a_paired_difference_cancels_what_the_models_share(self):
    rng = np.random.default_rng(0)
    weights_JB = rng.normal(size=(4, 30)) + 100 * rng.normal(size=30)
    row = estimates.paired_difference(weights_JB + 0.5, weights_JB)
    self.assertAlmostEqual(row["nats_per_image"], 0.5, places=3)
    self.assertLess(row["standard_error"], 1e-3)
    self.assertAlmostEqual(row["log10_bayes_factor"], 15 / math.log(10), places=2)


if __name__ == "__main__":
  absltest.main()
