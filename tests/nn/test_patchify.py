import jax
import numpy as np
from absl.testing import absltest, parameterized

from ntm.nn.patchify import patchify, unpatchify


class PatchifyTest(parameterized.TestCase):

  @parameterized.parameters(((12, 2), (3,)), ((4, 6, 3), (2, 3)), ((4, 4, 6, 1), (2, 1, 3)))
  def test_round_trip(self, shape, patch):
    x = jax.random.normal(jax.random.key(0), (2,) + shape)
    tokens = patchify(x, patch)
    self.assertEqual(tokens.shape[2], int(np.prod(patch)) * shape[-1])
    np.testing.assert_array_equal(unpatchify(tokens, shape, patch), x)

  def test_tokens_are_patches_in_reading_order(self):
    x = np.arange(16.0).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(
        patchify(x, (2, 2))[0], [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]])

  def test_a_patch_that_does_not_divide_is_refused(self):
    with self.assertRaisesRegex(ValueError, "does not divide"):
      patchify(np.zeros((1, 4, 5, 1)), (2, 2))


if __name__ == "__main__":
  absltest.main()
