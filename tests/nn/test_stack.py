import functools

import jax
import numpy as np
from absl.testing import absltest, parameterized

from ntm.config import TransformerConfig
from ntm.nn import rotary, stack
from ntm.nn.numerics import Numerics
from tests.helpers import tiny

_CONFIG = TransformerConfig(layers=3, width=16, num_heads=2, num_kv_heads=1, mlp_ratio=2)
_ANGLES = rotary.rotary_angles(rotary.grid_positions((2, 3)), 8)


def _inputs():
  x = jax.random.normal(jax.random.key(0), (2, 6, 16))
  return x, jax.random.normal(jax.random.key(1), (2, 2, 16))  # two levels of three tokens


@functools.cache
def _value_and_grad(**options):
  """(params, x, c) → a loss and its gradient, compiled once."""
  return jax.jit(jax.value_and_grad(lambda *args: (
      stack.Stack(_CONFIG, numerics=Numerics(**options)).apply(*args, _ANGLES) ** 2).sum()))


class StackTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.x, self.c = _inputs()
    self.params = {"params": tiny.random_params(
        lambda rng: stack.Stack(_CONFIG).init(rng, self.x, self.c, _ANGLES))}

  def test_scan_equals_loop(self):
    @jax.jit
    def layer(params, x, c):
      modulation = stack._Modulation(Numerics()).apply({"params": params["modulation"]}, c)
      return stack.Layer(_CONFIG, False, Numerics()).apply(
          {"params": params["layers"]}, x, modulation, _ANGLES, None)[0]

    x = self.x
    for i in range(_CONFIG.layers):
      x = layer(jax.tree.map(lambda a, i=i: a[i], self.params["params"]), x, self.c)
    out = jax.jit(lambda *args: stack.Stack(_CONFIG).apply(*args, _ANGLES))(
        self.params, self.x, self.c)
    np.testing.assert_allclose(out, x, atol=1e-5)

  @parameterized.product(remat=("none", "full", "dots", "attention"), unroll=(1, 3))
  def test_remat_and_unroll_change_nothing(self, remat, unroll):
    plain, other = (_value_and_grad(**options)(self.params, self.x, self.c) for options in (
        dict(remat="none", unroll=1), dict(remat=remat, unroll=unroll)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4), plain, other)

  def test_starts_as_the_identity(self):
    out = jax.jit(lambda rng: stack.Stack(_CONFIG).init_with_output(
        rng, self.x, self.c, _ANGLES)[0])(jax.random.key(2))
    np.testing.assert_array_equal(out, self.x)

  def test_levels_take_their_own_condition(self):
    # With attention cut between levels, the second condition moves only level two.
    mask = np.kron(np.eye(2, dtype=bool), np.ones((3, 3), bool))[None, None]
    run = jax.jit(lambda c: stack.Stack(_CONFIG).apply(self.params, self.x, c, _ANGLES, mask))
    before, changed = (np.asarray(run(c)) for c in (self.c, self.c.at[:, 1].add(1.0)))
    np.testing.assert_array_equal(changed[:, :3], before[:, :3])
    self.assertGreater(np.abs(changed[:, 3:] - before[:, 3:]).max(), 1e-3)


if __name__ == "__main__":
  absltest.main()
