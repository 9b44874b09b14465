"""Arguments become what the model reads, and results that cannot be right are refused."""

import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm.api import checks
from tests.helpers import tiny


class ChecksTest(parameterized.TestCase):

  @parameterized.parameters(([2, 0],), ((2, 0),), (np.uint8([2, 0]),), (jnp.array([2, 0]),))
  def test_labels_of_any_integers_are_int32(self, labels):
    cond, count = checks.condition(tiny.config(), labels, None)
    self.assertEqual((count, cond.label_B.dtype), (2, np.int32))
    np.testing.assert_array_equal(cond.label_B, [2, 0])

  def test_without_guidance_nothing_is_left_out(self):
    config = tiny.config()
    cond, _ = checks.condition(config, [0], None)
    self.assertIsNone(checks.guidance(config, 0.0, cond, None))
    np.testing.assert_array_equal(checks.guidance(config, 2.0, cond, None).label_B, [3])

  def test_guidance_by_what_was_never_trained_is_warned_of(self):
    config = tiny.config(train__label_dropout=0.0)
    with self.assertLogs("ntm", "WARNING") as logs:
      checks.warn_of_untrained_guidance(config, 2.0)
    self.assertIn("guidance is 2, but the run was trained with label_dropout 0", logs.output[0])
    with self.assertNoLogs("ntm", "WARNING"):
      checks.warn_of_untrained_guidance(config, 0.0)
      checks.warn_of_untrained_guidance(tiny.config(), 2.0)

  def test_results_that_are_not_finite_are_counted(self):
    images = np.zeros((5, 2, 2, 1))
    checks.finite("images", images)
    images[1, 0, 0], images[1, 1, 1], images[4, 0, 1] = np.nan, np.nan, np.inf
    with self.assertRaisesRegex(FloatingPointError, "^2 of 5 images hold NaN or infinite"):
      checks.finite("images", images)


if __name__ == "__main__":
  absltest.main()
