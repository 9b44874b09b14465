import numpy as np
from absl.testing import absltest, parameterized

from ntm.conversion import transforms
from ntm.conversion.transforms import CONV, KEEP, linear, reshape

_TRANSFORMS = {
    "keep": (KEEP, (3, 4)),
    "conv": (CONV, (5, 3, 2, 2)),
    "linear": (linear(), (6, 4)),
    "linear_to_heads": (linear((2, 3)), (6, 4)),
    "linear_from_heads": (linear(inputs=(2, 3)), (4, 6)),
    "linear_between_heads": (linear((2, 3), (4, 5)), (6, 20)),
    "reshape": (reshape((4, 3), (2, 6)), (4, 3)),
    "reverse": (transforms.reverse(1), (4, 3)),
}


class TransformsTest(parameterized.TestCase):

  @parameterized.parameters(*_TRANSFORMS)
  def test_backward_inverts_forward(self, name):
    transform, shape = _TRANSFORMS[name]
    theirs = np.arange(np.prod(shape)).reshape(shape)
    ours = transform.forward(theirs)
    np.testing.assert_array_equal(transform.backward(ours), theirs)

  def test_linear_is_the_same_map(self):
    weight, x = np.random.default_rng(0).normal(size=(2, 6, 6))
    expected = x @ weight.T
    for outputs, inputs in (((), ()), ((2, 3), ()), ((), (3, 2)), ((2, 3), (3, 2))):
      kernel = linear(outputs, inputs).forward(weight)
      self.assertEqual(kernel.shape, (*(inputs or (6,)), *(outputs or (6,))))
      out = np.tensordot(x.reshape(6, *(inputs or (6,))), kernel, len(inputs) or 1)
      np.testing.assert_allclose(out.reshape(6, 6), expected)

  @parameterized.parameters(((12,),), ((5, 12),), ((4, 2, 12),))
  def test_patch_channels(self, shape):
    transform = transforms.patch_channels(3, 2)
    theirs = np.arange(np.prod(shape)).reshape(shape)
    ours = transform.forward(theirs)
    for c in range(3):
      for pixel in range(4):
        np.testing.assert_array_equal(ours[..., pixel * 3 + c], theirs[..., c * 4 + pixel])
    np.testing.assert_array_equal(transform.backward(ours), theirs)

  def test_chain_undoes_in_the_opposite_order(self):
    chain = transforms.chain(linear((2, 12)), transforms.patch_channels(3, 2),
                             transforms.reverse(1))
    theirs = np.arange(24 * 5).reshape(24, 5)
    self.assertEqual(chain.forward(theirs).shape, (5, 2, 12))
    np.testing.assert_array_equal(chain.backward(chain.forward(theirs)), theirs)


if __name__ == "__main__":
  absltest.main()
