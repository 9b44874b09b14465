import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm.nn import rotary


class RotaryTest(parameterized.TestCase):

  @parameterized.parameters((5,), (3, 4), (2, 3, 4))
  def test_scores_depend_on_offsets_only(self, *grid):
    positions = rotary.grid_positions(grid)
    shifted = positions + np.arange(1, len(grid) + 1)
    query, key = jax.random.normal(jax.random.key(0), (2, 1, len(positions), 1, 12))
    scores = jax.jit(lambda *args: [
        jnp.einsum("bmhe,bnhe->mn", *(rotary.rotate(a, rotary.rotary_angles(p, 12)) for a in args))
        for p in (positions, shifted)])(query, key)
    np.testing.assert_allclose(*scores, atol=1e-5)

  def test_every_axis_turns_something(self):
    for axis in range(3):
      positions = np.zeros((1, 3))
      positions[0, axis] = 1
      self.assertGreater(np.abs(rotary.rotary_angles(positions, 16)).max(), 0)

  def test_norms_are_kept(self):
    x = jax.random.normal(jax.random.key(0), (2, 6, 3, 8))
    turned = rotary.rotate(x, rotary.rotary_angles(rotary.grid_positions((2, 3)), 8))
    np.testing.assert_allclose(jnp.linalg.norm(turned, axis=-1), jnp.linalg.norm(x, axis=-1),
                               rtol=1e-5)


if __name__ == "__main__":
  absltest.main()
