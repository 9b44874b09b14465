import itertools

import numpy as np
from absl.testing import absltest, parameterized

from ntm.data import scene_layout


class SceneLayoutTest(parameterized.TestCase):

  @parameterized.product(sizes=((1,), (2,), (1, 1), (1, 2), (2, 1), (2, 2)), axis=(0, 1))
  def test_things_are_apart_and_groups_in_order(self, sizes, axis):
    rng = np.random.default_rng(0)
    for _ in range(300):
      radii = [rng.uniform(0.05, 0.21, size).tolist() for size in sizes]
      drawn = rng.random(11).tolist()
      places = np.array(scene_layout.place(radii, axis, iter(drawn)))
      flat = np.array(sum(radii, []))
      self.assertLen(places, sum(sizes))
      reach = flat[:, None] + scene_layout.GAP - 1e-9
      self.assertTrue(((places >= reach) & (places <= 1 - reach)).all())
      for i, j in itertools.combinations(range(len(flat)), 2):
        apart = np.abs(places[i] - places[j]).max()
        self.assertGreaterEqual(apart, flat[i] + flat[j] + 2 * scene_layout.GAP - 1e-9)
      if len(sizes) == 2:
        first, second = places[:sizes[0], axis], places[sizes[0]:, axis]
        self.assertLess(first.max(), second.min())

  def test_a_thing_can_be_anywhere(self):
    rng = np.random.default_rng(0)
    places = np.array([scene_layout.place([[0.1]], 0, iter(rng.random(2)))[0]
                       for _ in range(2000)])
    np.testing.assert_allclose(places.min(axis=0), 0.13, atol=0.01)
    np.testing.assert_allclose(places.max(axis=0), 0.87, atol=0.01)
    np.testing.assert_allclose(places.mean(axis=0), 0.5, atol=0.02)


if __name__ == "__main__":
  absltest.main()
