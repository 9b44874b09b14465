import pathlib
import tempfile

import numpy as np
from absl.testing import absltest
from PIL import Image

from ntm.inference import pictures


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

  def test_the_file_holds_the_picture(self):
    for channels in (1, 3):
      picture = np.random.default_rng(0).integers(0, 255, (6, 5, channels), np.uint8)
      path = pathlib.Path(tempfile.mkdtemp()) / "deep" / "a.png"
      pictures.save(path, picture)
      np.testing.assert_array_equal(np.asarray(Image.open(path)).reshape(picture.shape), picture)


if __name__ == "__main__":
  absltest.main()
