"""Blocks of convolutions and attention over pixels."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm.nn import convolution
from ntm.nn.numerics import Numerics
from tests.helpers import tiny

_X = np.random.default_rng(0).normal(size=(2, 4, 6, 8)).astype(np.float32)
_COMMON = dict(num_groups=2, numerics=Numerics())


def _apply(module, x, params=None):
  params = params or tiny.random_params(lambda rng: module.init(rng, x))
  return module.apply({"params": params}, x), params


class ConvolutionTest(parameterized.TestCase):

  @parameterized.parameters((8, False), (4, True))
  def test_a_block_without_its_branch_is_a_shortcut(self, width, projects):
    block = convolution.ResidualBlock(width, **_COMMON)
    _, params = _apply(block, _X)
    self.assertEqual("shortcut" in params, projects)
    params["conv_1"] = jax.tree.map(jnp.zeros_like, params["conv_1"])
    expected = _X
    if projects:
      expected = _X @ params["shortcut"]["kernel"][0, 0] + params["shortcut"]["bias"]
    np.testing.assert_allclose(_apply(block, _X, params)[0], expected, rtol=1e-5, atol=1e-6)

  def test_a_pixel_reaches_its_neighbours_alone_but_for_the_norms(self):
    block = convolution.ResidualBlock(8, **_COMMON)
    out, params = _apply(block, _X)
    self.assertEqual(out.shape, _X.shape)
    other = _apply(block, np.stack([_X[0], -_X[1]]), params)[0]
    np.testing.assert_array_equal(other[0], out[0])  # Examples do not mix.

  def test_attention_has_no_order_of_pixels(self):
    attention = convolution.PixelAttention(**_COMMON)
    out, params = _apply(attention, _X)
    swapped = _apply(attention, _X[:, ::-1, ::-1], params)[0]
    np.testing.assert_allclose(swapped[:, ::-1, ::-1], out, rtol=1e-4, atol=1e-5)
    self.assertGreater(np.abs(out - _X).max(), 0.1)

  @parameterized.parameters(True, False)
  def test_the_middle_attends_if_it_is_asked_to(self, attention):
    middle = convolution.Middle(attention, **_COMMON)
    out, params = _apply(middle, _X)
    self.assertEqual((out.shape, "attention" in params), (_X.shape, attention))

  def test_the_norm_keeps_its_digits_where_the_mean_is_large(self):
    norm = convolution.group_norm("norm", 2, Numerics())
    out, _ = norm.init_with_output(jax.random.key(0), _X + 1000)
    expected, _ = norm.init_with_output(jax.random.key(0), _X)
    np.testing.assert_allclose(out, expected, atol=2e-3)
    groups = np.asarray(expected).reshape(2, -1, 2, 4)
    np.testing.assert_allclose(groups.mean(axis=(1, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(groups.var(axis=(1, 3)), 1, rtol=1e-4)


if __name__ == "__main__":
  absltest.main()
