import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm.nn.numerics import Numerics
from ntm.published.sit import model as sit
from tests.helpers import tiny

_CONFIG = sit.SiTConfig(layers=3, width=16, num_heads=2, mlp_ratio=2, grid_shape=(2, 3),
                        num_classes=4)


@functools.cache
def _model(**options):
  """(params, x, t, label) → (velocity, hidden), compiled once."""
  return jax.jit(sit.SiT(_CONFIG, Numerics(**options)).apply)


@functools.cache
def _value_and_grad(**options):
  """(params, *args) → a loss and its gradient, compiled once."""
  def loss(params, *args):
    velocity, hidden = _model(**options)(params, *args)
    return (velocity ** 2).sum() + (hidden ** 2).sum()

  return jax.jit(jax.value_and_grad(loss))


class SiTTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.x = jax.random.normal(jax.random.key(0), (2, 6, 16))
    self.args = (self.x, jnp.array([0.2, 0.9]), jnp.array([1, 4]))
    self.init = lambda rng: sit.SiT(_CONFIG).init(rng, *self.args)
    self.params = {"params": tiny.random_params(self.init)}

  def _run(self, params, **options):
    return _model(**options)(params, *self.args)

  def test_starts_with_no_velocity_and_no_layers(self):
    params = jax.jit(self.init)(jax.random.key(1))
    velocity, hidden = self._run(params)
    np.testing.assert_array_equal(velocity, np.zeros_like(self.x))
    embedded = self.x @ params["params"]["embed"]["kernel"].value
    table = sit.position_table(_CONFIG.grid_shape, _CONFIG.width)
    np.testing.assert_allclose(hidden, embedded + table, atol=1e-5)

  @parameterized.product(remat=("none", "full", "dots"), unroll=(1, 3))
  def test_remat_and_unroll_change_nothing(self, remat, unroll):
    plain = _value_and_grad(remat="none", unroll=1)(self.params, *self.args)
    other = _value_and_grad(remat=remat, unroll=unroll)(self.params, *self.args)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4), plain, other)

  def test_scan_equals_loop(self):
    inner = self.params["params"]
    # No layers by way of gates that are zero; what comes out is what goes in.
    closed = jax.tree.map(jnp.zeros_like, inner["blocks"]["modulation"])
    _, h = self._run({"params": {**inner, "blocks": {**inner["blocks"], "modulation": closed}}})
    features = sit.time_features(1 - self.args[1])
    dense = lambda name, a: a @ inner[name]["kernel"] + inner[name]["bias"]
    c = dense("time_out", jax.nn.silu(dense("time_in", features)))
    c = (c + inner["label"]["table"][self.args[2]])[:, None]
    block = jax.jit(sit._Block(_CONFIG, Numerics()).apply)
    for i in range(_CONFIG.layers):
      h, _ = block({"params": jax.tree.map(lambda a, i=i: a[i], inner["blocks"])}, h, c)
    np.testing.assert_allclose(self._run(self.params)[1], h, atol=1e-5)

  def test_what_is_only_kept_has_no_gradient(self):
    grad = _value_and_grad(remat="none", unroll=1)(self.params, *self.args)[1]["params"]
    np.testing.assert_array_equal(grad["position"], np.zeros_like(grad["position"]))
    for leaf in grad["readout"].values():
      np.testing.assert_array_equal(leaf[..., 1, :], np.zeros_like(leaf[..., 1, :]))
      self.assertGreater(np.abs(leaf[..., 0, :]).min(), 0)

  @parameterized.parameters("float32", "bfloat16")
  def test_types(self, dtype):
    velocity, hidden = self._run(self.params, dtype=jnp.dtype(dtype))
    self.assertEqual(velocity.dtype, jnp.float32)
    self.assertEqual(hidden.dtype, jnp.dtype(dtype))
    reference = self._run(self.params)[0]
    self.assertLess(np.abs(velocity - reference).max(), 0.05 * np.abs(reference).max())

  def test_positions_of_one_offset_have_one_inner_product(self):
    table = sit.position_table((4, 5), 16).reshape(4, 5, 16)
    for offset in ((0, 1), (1, 0), (2, 3)):
      a, b = table[:4 - offset[0], :5 - offset[1]], table[offset[0]:, offset[1]:]
      products = (a * b).sum(axis=-1)
      np.testing.assert_allclose(products, np.full_like(products, products[0, 0]), atol=1e-12)
    np.testing.assert_allclose((table ** 2).sum(axis=-1), 8)

  def test_times_that_bfloat16_cannot_tell_apart_differ(self):
    near = jnp.array([0.5, 0.5001])
    self.assertEqual(*near.astype(jnp.bfloat16))
    first, second = sit.time_features(near)
    # The fastest sinusoid is cos(s), sin(s).
    np.testing.assert_allclose(np.linalg.norm((first - second)[::128]), 1e-4, rtol=1e-3)

  def test_sizes_differ_by_the_patch_alone(self):
    for config in (sit.S, sit.B, sit.L, sit.XL):
      self.assertEqual((config.num_tokens, config.num_channels), (256, 16))
      coarse = dataclasses.replace(config, patch_size=4, grid_shape=(8, 8))
      self.assertEqual(coarse.num_tokens * coarse.num_channels, 256 * 16)


if __name__ == "__main__":
  absltest.main()
