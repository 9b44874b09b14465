"""Arguments become what the model reads, and results that cannot be right are refused."""

import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm import config as config_lib
from ntm.api import checks
from ntm.data.prompts import Tokens
from tests.helpers import tiny


class ChecksTest(parameterized.TestCase):

  @parameterized.parameters(([2, 0],), ((2, 0),), (np.uint8([2, 0]),), (jnp.array([2, 0]),))
  def test_labels_of_any_integers_are_int32(self, labels):
    cond, count = checks.condition(tiny.config(), labels, None)
    self.assertEqual((count, cond.label_B.dtype), (2, np.int32))
    np.testing.assert_array_equal(cond.label_B, [2, 0])

  def test_the_number_of_steps_is_one_of_the_training(self):
    config = tiny.config(process__num_steps=(3, 5))
    self.assertEqual([checks.num_steps(config, value) for value in (None, 3, 5)], [3, 3, 5])
    with self.assertRaisesRegex(ValueError, "num_steps is 4, but .* for 3 or 5 steps"):
      checks.num_steps(config, 4)

  def test_token_ids_are_those_of_the_vocabulary(self):
    config = config_lib.from_dict({
        "model": {"num_classes": 0, "backbone": {"text_tokens": 4, "vocab_size": 200}},
        "text": {"tokenizer": "scenes"}})
    ids_BM = np.array([[1, 199, 0, 0]], np.int32)
    cond, count = checks.condition(config, Tokens(ids_BM, ids_BM != 0, np.zeros(1, bool)), None)
    np.testing.assert_array_equal(cond.ids_BM, ids_BM)
    self.assertEqual(count, 1)
    with self.assertRaisesRegex(ValueError, "token id 200 is out of range; the encoder has 200"):
      checks.condition(config, Tokens(ids_BM + 1, ids_BM != 0, np.zeros(1, bool)), None)

  def test_without_guidance_nothing_is_left_out(self):
    config = tiny.config()
    self.assertIsNone(checks.guidance(config, 0.0, None))
    np.testing.assert_array_equal(checks.guidance(config, 2.0, None).label_B, [3])

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
