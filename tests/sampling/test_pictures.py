import pathlib
import tempfile

import numpy as np
from absl.testing import absltest
from PIL import Image

from ntm.sampling import pictures


class PicturesTest(absltest.TestCase):

  def test_rows_and_columns_are_where_they_belong(self):
    rows = np.full((2, 3, 8, 8, 1), -1.0)
    rows[1, 2] = 1.0
    picture = pictures.grid(rows)
    height, width = picture.shape[0] // 2, picture.shape[1] // 3
    self.assertEqual(picture[height + 5, 2 * width + 5, 0], 255)
    self.assertEqual(picture[5, 5, 0], 0)
    self.assertEqual(picture[height + 5, 5, 0], 0)

  def test_values_outside_the_range_are_clipped(self):
    self.assertEqual(pictures.grid(np.full((1, 1, 64, 64, 3), 7.0))[5, 5, 1], 255)

  def test_every_image_has_a_frame_of_one_pixel(self):
    picture = pictures.grid(np.ones((2, 3, 64, 50, 3)))
    self.assertEqual(picture.shape, (2 * 66, 3 * 52, 3))
    for tile in (picture[:66, :52], picture[66:, 104:]):
      self.assertTrue((tile[1:-1, 1:-1] == 255).all())
      for edge in (tile[0], tile[-1], tile[:, 0], tile[:, -1]):
        self.assertLess(edge.max(), 255)

  def test_small_images_are_enlarged_by_the_least_whole_factor(self):
    for side, zoom in ((8, 6), (47, 2), (48, 1), (64, 1)):
      picture = pictures.grid(np.zeros((1, 1, side, side + 3, 1)))
      self.assertEqual(picture.shape, (side * zoom + 2, (side + 3) * zoom + 2, 1))

  def test_captions_are_below_their_images(self):
    rows = np.zeros((2, 3, 32, 32, 3))
    blank = pictures.captioned(rows, [[" ", " ", " "]] * 2, side=96)
    texts = [["a ring", "", ""], ["", "", "a blue ring to the left of two orange crosses"]]
    picture = pictures.captioned(rows, texts, side=96)
    (height, width), (low, _) = (np.array(p.shape[:2]) // (2, 3) for p in (picture, blank))
    self.assertGreater(height, low)  # The long one takes several lines.
    for i in range(2):
      for j in range(3):
        tile = picture[i * height:(i + 1) * height, j * width:(j + 1) * width]
        np.testing.assert_array_equal(tile[:98], pictures.grid(rows[:1, :1], 96))
        self.assertEqual(bool((tile[98:] < 128).any()), bool(texts[i][j]))
        self.assertTrue((tile[98:, -2:] == 255).all())  # Within its column.

  def test_grey_images_have_captions_too(self):
    picture = pictures.captioned(np.ones((1, 1, 8, 8, 1)), [["seven"]], side=48)
    self.assertTrue((picture[1:49, 1:49] == 255).all())
    self.assertLess(picture[50:].min(), 64)

  def test_points_are_dark_where_they_are(self):
    points = np.zeros((2, 5, 2, 1))
    points[0, :3, :, 0] = [0.75, 0.0]  # To the right of the middle,
    points[1, :, :, 0] = [0.0, 1.0]  # and above it.
    points[0, 3:] = 9.0  # Not shown.
    picture = pictures.draw(points)[..., 0]
    side = picture.shape[0]
    self.assertEqual(picture.shape, (side, 2 * side))
    left, right = picture[1:-1, 1:side - 1], picture[1:-1, side + 1:-1]
    (row, column), = np.argwhere(left < 255)
    self.assertAlmostEqual(row / len(left), 0.5, delta=0.01)
    self.assertAlmostEqual(column / len(left), 0.75, delta=0.01)
    (row, column), = np.argwhere(right < 255)
    self.assertAlmostEqual(row / len(left), 1 / 6, delta=0.01)
    self.assertAlmostEqual(column / len(left), 0.5, delta=0.01)
    self.assertLess(right.min(), left.min())  # Five points against three.

  def test_pictures_have_one_channel_or_three(self):
    for shape, drawable in (((8, 9, 1), True), ((1, 9, 3), True), ((8, 1, 4), False),
                            ((3, 3, 2), False), ((8, 3), False), ((2, 1), True),
                            ((2, 8, 8, 3), True), ((1024, 1), True), ((2, 8, 8, 4), False)):
      self.assertEqual(pictures.drawable(shape), drawable, shape)

  def test_the_file_holds_the_picture(self):
    for channels in (1, 3):
      picture = np.random.default_rng(0).integers(0, 255, (6, 5, channels), np.uint8)
      path = pathlib.Path(tempfile.mkdtemp()) / "deep" / "a.png"
      pictures.save(path, picture)
      np.testing.assert_array_equal(np.asarray(Image.open(path)).reshape(picture.shape), picture)


if __name__ == "__main__":
  absltest.main()
