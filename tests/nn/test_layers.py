"""Linear layers, norms and modulation against their formulas."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm.nn import layers
from ntm.nn.numerics import Numerics
from tests.helpers import tiny

_RNG = np.random.default_rng(0)
_X = _RNG.normal(size=(2, 6, 4)).astype(np.float32)  # Three levels of two tokens.
_BY_LEVEL = _RNG.normal(size=(2, 3, 4)).astype(np.float32)


class LayersTest(parameterized.TestCase):

  @parameterized.parameters((5, ("embed", "mlp"), ("mlp",)),
                            ((2, 3), ("embed", "heads", None), ("heads", None)))
  def test_kernel_and_bias_name_their_axes(self, features, axes, of_bias):
    layer = layers.dense(features, axes, **Numerics().types)
    boxed = jax.eval_shape(layer.init, jax.random.key(0), _X)["params"]
    self.assertEqual((boxed["kernel"].names, boxed["bias"].names), (axes, of_bias))

  def test_a_layer_that_starts_at_zero_gives_zero(self):
    layer = layers.dense(5, ("embed", None), zero=True, **Numerics().types)
    np.testing.assert_array_equal(layer.init_with_output(jax.random.key(0), _X)[0], 0)

  def test_the_gain_of_a_norm_names_its_axis(self):
    norm = layers.rms_norm("head_width", epsilon=1e-6)
    out, boxed = norm.init_with_output(jax.random.key(0), _X)
    self.assertEqual(boxed["params"]["scale"].names, ("head_width",))
    np.testing.assert_allclose((out**2).mean(axis=-1), 1, rtol=1e-4)

  def test_every_level_has_its_shift_scale_and_gate(self):
    each = np.repeat(_BY_LEVEL, 2, axis=1)  # One row per token.
    np.testing.assert_allclose(layers.modulate(_X, _BY_LEVEL, -_BY_LEVEL), _X * (1 - each) + each,
                               rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layers.gate(_X, _BY_LEVEL), _X * each, rtol=1e-6)
    np.testing.assert_array_equal(layers.modulate(_X, 0 * _BY_LEVEL, 0 * _BY_LEVEL), _X)

  @parameterized.parameters(True, False)
  def test_the_feed_forward_layer_is_its_formula(self, exact):
    mlp = layers.Mlp(ratio=3, exact=exact)
    params = tiny.random_params(lambda rng: mlp.init(rng, _X))
    up, down = params["up"], params["down"]
    h = nn.gelu(_X @ up["kernel"] + up["bias"], approximate=not exact)
    self.assertEqual(h.shape, (2, 6, 12))
    np.testing.assert_allclose(mlp.apply({"params": params}, _X),
                               h @ down["kernel"] + down["bias"], rtol=1e-5, atol=1e-6)
    gelu = h - nn.gelu(_X @ up["kernel"] + up["bias"], approximate=exact)
    self.assertGreater(jnp.abs(gelu).max(), 0)  # The two differ.


if __name__ == "__main__":
  absltest.main()
