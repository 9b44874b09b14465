"""Any number of images comes from calls of one size, with noise and labels of their own."""

import jax
import numpy as np
from absl.testing import absltest, parameterized

from ntm.api import batching
from ntm.typing import Condition


class BatchingTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.sizes = []

  def _generate(self, rng, cond, size):
    """(noise, label) of every image."""
    self.sizes.append(size)
    return np.stack([jax.random.normal(rng, (size,)), cond.label_B], axis=1)

  @parameterized.parameters(1, 255, 256, 257, 600)
  def test_every_image_has_its_label_and_its_noise(self, count):
    label_B, calls = np.arange(count), []
    images = batching.draw(self._generate, jax.random.key(0), Condition(label_B=label_B), count,
                           lambda *state: calls.append(state))
    self.assertEqual(images.shape, (count, 2))
    np.testing.assert_array_equal(images[:, 1], label_B)
    self.assertLen(np.unique(images[:, 0]), count)
    self.assertEqual(set(self.sizes), {min(count, 256)})  # One program.
    self.assertEqual(calls, [(min(done, count), count) for done in range(256, count + 256, 256)])

  def test_the_first_images_do_not_depend_on_how_many_follow(self):
    draw = lambda count: batching.draw(self._generate, jax.random.key(0),
                                       Condition(label_B=np.zeros(count)), count)
    np.testing.assert_array_equal(draw(600)[:256], draw(256))

  @parameterized.parameters((256, 600), (512, 600), (512, 516), (0, 100))
  def test_a_series_in_two_calls_is_that_of_one(self, first, count):
    draw = lambda rows, **how: batching.draw(
        self._generate, jax.random.key(0), Condition(label_B=rows), len(rows), **how)
    rows = np.arange(count)
    np.testing.assert_array_equal(draw(rows[first:], offset=first), draw(rows)[first:])
    self.assertLen(set(self.sizes), 1)  # One program.

  @parameterized.parameters((100, 300), (-256, 300), (4, 100))
  def test_a_call_begins_where_a_batch_does(self, offset, count):
    with self.assertRaisesRegex(ValueError, f"offset is {offset}; expected a multiple of "):
      batching.draw(self._generate, jax.random.key(0), Condition(), count, offset=offset)

  def test_rows_are_repeated_to_fill_a_call(self):
    filled = batching.fill(Condition(text_BMW=np.arange(6).reshape(2, 3, 1)), 5).text_BMW
    self.assertEqual(filled.shape, (5, 3, 1))
    np.testing.assert_array_equal(filled[:2], filled[2:4])


if __name__ == "__main__":
  absltest.main()
