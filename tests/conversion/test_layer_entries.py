import numpy as np
from absl.testing import absltest, parameterized

from ntm.conversion import layer_entries, mapping


class ModulesTest(parameterized.TestCase):

  @parameterized.parameters(((12,),), ((5, 12),), ((4, 2, 12),))
  def test_patch_channels(self, shape):
    transform = layer_entries.patch_channels(3, 2)
    theirs = np.arange(np.prod(shape)).reshape(shape)
    ours = transform.forward(theirs)
    for c in range(3):
      for pixel in range(4):
        np.testing.assert_array_equal(ours[..., pixel * 3 + c], theirs[..., c * 4 + pixel])
    np.testing.assert_array_equal(transform.backward(ours), theirs)

  def test_then_undoes_in_the_other_order(self):
    both = layer_entries.then(mapping.linear(2, 12), layer_entries.patch_channels(3, 2))
    theirs = np.arange(24 * 5).reshape(24, 5)
    self.assertEqual(both.forward(theirs).shape, (5, 2, 12))
    np.testing.assert_array_equal(both.backward(both.forward(theirs)), theirs)

  def test_counts_to_the_first_that_is_missing(self):
    shapes = {"a.0.b": (), "a.1.b": (), "a.3.b": ()}
    self.assertEqual(layer_entries.count(shapes, "a.{i}.b"), 2)
    self.assertEqual(layer_entries.count(shapes, "c.{i}.b"), 0)

  def test_a_kernel_has_several_axes_on_one_side(self):
    with self.assertRaisesRegex(ValueError, "not both"):
      layer_entries.linear("a", "b", (2, 3), inputs=(4, 5))


if __name__ == "__main__":
  absltest.main()
