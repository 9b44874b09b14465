import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm.config import TransformerConfig
from ntm.nn import rotary, stack
from tests import tiny

_CONFIG = TransformerConfig(layers=3, width=16, num_heads=2, num_kv_heads=1, mlp_ratio=2)
_ANGLES = rotary.rotary_angles(rotary.grid_positions((2, 3)), 8)


def _inputs():
  x = jax.random.normal(jax.random.key(0), (2, 6, 16))
  return x, jax.random.normal(jax.random.key(1), (2, 2, 16))  # two levels of three tokens


class StackTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.x, self.c = _inputs()
    self.params = {"params": tiny.random_params(
        lambda rng: stack.Stack(_CONFIG).init(rng, self.x, self.c, _ANGLES))}

  def _loss(self, params, **options):
    return (stack.Stack(_CONFIG, **options).apply(params, self.x, self.c, _ANGLES) ** 2).sum()

  def test_scan_equals_loop(self):
    x, types = self.x, (jnp.float32, jnp.float32)
    for i in range(_CONFIG.layers):
      params = jax.tree.map(lambda a, i=i: a[i], self.params["params"])
      layer = params["layers"]
      modulation = stack._Modulation(*types).apply({"params": params["modulation"]}, self.c)
      x, _ = stack.Layer(_CONFIG, False, *types).apply(
          {"params": layer}, x, modulation, _ANGLES, None)
    out = stack.Stack(_CONFIG).apply(self.params, self.x, self.c, _ANGLES)
    np.testing.assert_allclose(out, x, atol=1e-5)

  @parameterized.product(remat=("none", "full", "dots"), unroll=(1, 3))
  def test_remat_and_unroll_change_nothing(self, remat, unroll):
    plain = jax.jit(jax.value_and_grad(self._loss))(self.params)
    other = jax.jit(jax.value_and_grad(
        lambda p: self._loss(p, remat=remat, unroll=unroll)))(self.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4), plain, other)

  def test_starts_as_the_identity(self):
    params = stack.Stack(_CONFIG).init(jax.random.key(2), self.x, self.c, _ANGLES)
    out = stack.Stack(_CONFIG).apply(params, self.x, self.c, _ANGLES)
    np.testing.assert_array_equal(out, self.x)

  def test_levels_take_their_own_condition(self):
    # With attention cut between levels, the second condition moves only level two.
    mask = np.kron(np.eye(2, dtype=bool), np.ones((3, 3), bool))[None, None]
    run = lambda c: stack.Stack(_CONFIG).apply(self.params, self.x, c, _ANGLES, mask)
    changed = run(self.c.at[:, 1].add(1.0))
    np.testing.assert_array_equal(changed[:, :3], run(self.c)[:, :3])
    self.assertGreater(np.abs(changed[:, 3:] - run(self.c)[:, 3:]).max(), 1e-3)


if __name__ == "__main__":
  absltest.main()
