import types

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm.likelihood import spread
from ntm.likelihood.spread import predictive_spread
from ntm.process import schedule
from ntm.typing import Condition
from tests.helpers import tiny


class SpreadTest(parameterized.TestCase):

  def _spread(self, level=2, draws=400, scale=0.2, **changes):
    model, params = tiny.model_and_params(tiny.config(**changes), scale=scale)
    times = schedule.uniform_times(3, 0.02)
    x = jax.random.normal(jax.random.key(0), (2, 4, 4))
    return jax.jit(lambda params, x: predictive_spread(
        jax.random.key(1), model, params, x, times, level,
        Condition(label_B=jnp.array([0, 1])), draws))(params, x)

  @parameterized.parameters(0, 3)
  def test_of_a_standard_normal_model_is_one(self, features):
    # All parameters zero: identity transporter, N(0, 1) predictor.
    mean, std = self._spread(scale=0.0, model__transporter__features=features)
    np.testing.assert_allclose(np.asarray(std) * 0.98, 1, atol=0.2)
    np.testing.assert_allclose(mean, 0, atol=0.3)

  def test_examples_have_their_own(self):
    mean, std = map(np.asarray, self._spread())
    self.assertEqual(mean.shape, (2, 4, 4))
    self.assertGreater(np.abs(std[0] - std[1]).max(), 1e-3)

  def test_two_draws_are_enough(self):
    mean, std = map(np.asarray, self._spread(draws=2))
    self.assertTrue(np.isfinite(mean).all())
    self.assertGreater(std.min(), 0)

  @parameterized.parameters((dict(level=0), "level is 0"), (dict(level=4), "level is 4"),
                            (dict(draws=1), "at least 2"),
                            (dict(model__predictor={"context": "history"}), "markov"))
  def test_bad_arguments_are_named(self, changes, text):
    with self.assertRaisesRegex(ValueError, text):
      self._spread(**changes)


class SpreadByLevelTest(absltest.TestCase):

  def test_three_rows_per_level_from_the_cleanest_on(self):
    config = tiny.config()
    _, params = tiny.model_and_params(config, scale=0.0)
    model, reports = types.SimpleNamespace(config=config, params=params), []
    rows = spread.spread_by_level(model, jax.random.key(0), np.zeros((2, 4, 4, 1), np.float32),
                                  jnp.array([0, 1]), None, 16, lambda *done: reports.append(done))
    self.assertEqual(rows.shape, (9, 2, 4, 4, 1))
    self.assertEqual(reports, [(1, 3), (2, 3), (3, 3)])
    # The cleanest state is the image and a little noise; the noisiest is noise.
    deviations = rows[::3].std(axis=(1, 2, 3, 4))
    self.assertLess(deviations[0], deviations[-1])
    self.assertGreater(rows[2::3].min(), -1)


if __name__ == "__main__":
  absltest.main()
