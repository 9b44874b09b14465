import numpy as np
from absl.testing import absltest, parameterized

from ntm.data import scene_pixels
from ntm.data.scenes import Scenes


class ScenePixelsTest(parameterized.TestCase):

  @parameterized.parameters(*scene_pixels.SHAPES)
  def test_shapes_fill_their_square_and_no_more(self, shape):
    axis = scene_pixels.centres(220) - 110
    cover = scene_pixels.coverage(shape, [0], [0], [100], axis, axis)[0]
    inside = np.abs(axis) < 101
    self.assertEqual(cover[~inside].max(), 0)
    self.assertEqual(cover[:, ~inside].max(), 0)
    self.assertGreater(cover.mean(), 0.1)
    self.assertTrue(cover[np.abs(axis) > 80].any())

  @parameterized.parameters(*scene_pixels.SHAPES)
  def test_coverage_is_the_mean_over_a_finer_grid(self, shape):
    row, column, radius, zoom = 9.3, 10.6, 7.2, 8
    axis = scene_pixels.centres(20)
    fine = scene_pixels.centres(20 * zoom)
    cover = scene_pixels.coverage(shape, [row], [column], [radius], axis, axis)[0]
    exact = scene_pixels.coverage(shape, [row * zoom], [column * zoom], [radius * zoom], fine,
                                  fine)[0].reshape(20, zoom, 20, zoom).mean(axis=(1, 3))
    self.assertLess(np.abs(cover - exact).mean(), 0.01)
    self.assertLess(np.abs(cover - exact).max(), 0.3)  # At the corners.
    self.assertAlmostEqual(cover.sum() / exact.sum(), 1, delta=0.03)

  @parameterized.parameters(*scene_pixels.COLOURS)
  def test_no_pixel_can_be_clipped(self, colour):
    rgb = np.array(scene_pixels.COLOURS[colour])
    reach = lambda sign: (rgb + sign * scene_pixels._JITTER) * (
        1 + sign * scene_pixels._LIGHT) + sign * scene_pixels._GRAIN
    self.assertLess(reach(1).max(), 1)
    self.assertGreater(reach(-1).min(), 0)

  def test_pixels_are_dense(self):
    images, _ = Scenes("train").batch(range(120))
    self.assertBetween(np.abs(images).max(), 0.5, 0.9999)
    for image in images:
      self.assertGreater(len(np.unique(image)), 2500)  # Of 3072 values.

  def test_the_background_is_grey_and_things_are_not(self):
    images, scenes = Scenes("train", 64).batch(range(120))
    for image, scene in zip(images, scenes):
      self.assertLess(np.ptp(image[0], axis=-1).max(), 0.3)
      for thing in scene.objects:
        if thing.shape != "ring":
          pixel = image[int(thing.row * 64), int(thing.column * 64)]
          expected = 2 * np.array(scene_pixels.COLOURS[thing.colour]) - 1
          np.testing.assert_allclose(pixel, expected, atol=0.25)

  def test_light_and_look_change_the_picture_smoothly(self):
    scene = Scenes("train").scene(0)
    look, grain = np.full((1, scene_pixels.LOOK), 0.5), np.full((1, 32, 32, 3), 0.5, np.float32)
    base = scene_pixels.render([scene], look, grain)
    self.assertEqual((base.shape, base.dtype), ((1, 32, 32, 3), np.float32))
    for i in range(scene_pixels.LOOK):
      moved = scene_pixels.render([scene], look + 0.01 * (np.arange(scene_pixels.LOOK) == i), grain)
      self.assertLess(np.abs(moved - base).max(), 0.05)


if __name__ == "__main__":
  absltest.main()
