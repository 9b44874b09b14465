"""The named mixtures are where they are said to be."""

import jax
import numpy as np
from absl.testing import absltest, parameterized

from ntm.config import DataConfig
from ntm.truth import named, templates, trajectories
from tests.truth import examples


def _build(name, shape=(2, 1), **settings):
  return named.build(DataConfig(source="mixture", mixture=name, **settings), shape)


class NamedTest(parameterized.TestCase):

  def test_modes_are_a_grid_and_a_ring(self):
    grid, ring = _build("grid25", noise=0.01), _build("ring8")
    self.assertLen(np.unique(grid.mean_JD, axis=0), 25)
    self.assertSetEqual(set(grid.mean_JD.reshape(-1)), {-1, -0.5, 0, 0.5, 1})
    self.assertEqual((grid.sigma, ring.sigma), (0.01, 0.035))
    np.testing.assert_allclose(np.linalg.norm(ring.mean_JD, axis=1), 1)
    steps = np.diff(np.concatenate([ring.mean_JD, ring.mean_JD[:1]]), axis=0)
    np.testing.assert_allclose(np.linalg.norm(steps, axis=1), 2 * np.sin(np.pi / 8))

  def test_the_checkerboard_is_dark_in_the_corner_and_light_beside_it(self):
    mixture = _build("checkerboard")
    x0, _ = examples.draws(mixture, 500)
    rows, columns = np.floor((x0 + 1) * 2).astype(int).T
    self.assertTrue(((rows + columns) % 2 == 0).all())
    self.assertLen(set(zip(rows, columns)), 8)
    with jax.enable_x64(True):
      density = np.exp(jax.jit(trajectories.log_density, static_argnums=0)(
          mixture, np.array([[-0.75, -0.75], [-0.75, -0.25], [0.25, 0.25]]), 1e-3))
    np.testing.assert_allclose(density, [0.5, 0, 0.5], rtol=5e-3)

  @parameterized.parameters((8, 8), (8, 12), (32, 32))
  def test_glyphs_are_different_and_drawn_alike_at_every_size(self, *shape):
    glyphs = templates.glyphs(50, shape)
    self.assertEqual(glyphs.shape, (50, *shape))
    self.assertEqual(glyphs.min(), -1)
    self.assertBetween(glyphs.max(), 0.9, 1)
    distance = np.abs(glyphs[:, None] - glyphs).max((2, 3)) + 2 * np.eye(50)
    self.assertGreater(distance.min(), 0.3)
    np.testing.assert_array_equal(templates.glyphs(7, shape), glyphs[:7])
    mixture = _build("templates", (*shape, 1), num_templates=50)
    np.testing.assert_array_equal(mixture.mean_JD, glyphs.reshape(50, -1))


if __name__ == "__main__":
  absltest.main()
