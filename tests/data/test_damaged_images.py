"""A damaged image file is an array or one clear line, never another error."""

import pathlib
import tempfile
import warnings

import numpy as np
from absl.testing import absltest, parameterized

from ntm.data.folder import Folder
from tests.helpers import damaged_images


class DamagedImagesTest(parameterized.TestCase):

  @parameterized.parameters(*damaged_images.KINDS)
  def test_an_array_or_one_line_that_names_the_file(self, kind):
    root = pathlib.Path(tempfile.mkdtemp())
    seed = damaged_images.KINDS.index(kind)
    refused = 0
    for number in range(12):
      rng = np.random.default_rng((seed, number))
      path = damaged_images.write(rng, root)
      source = Folder(str(root), "train", (8, 8, 3), 0.1)
      self.assertEqual(source[0]["image"].shape, (8, 8, 3))
      damaged_images.damage(rng, path, kind)
      try:
        with warnings.catch_warnings():
          warnings.simplefilter("ignore")  # Pillow's own, about what it reads all the same.
          image = source[0]["image"]
      except ValueError as error:
        refused += 1
        self.assertStartsWith(str(error), f"{path} is not a readable image: ")
        self.assertNotIn("\n", str(error))
        self.assertLess(len(str(error)), len(str(path)) + 200)
      else:
        self.assertEqual((image.shape, image.dtype), ((8, 8, 3), np.float32))
        self.assertBetween(np.abs(image).max(), 0, 1)
      path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
    if kind == "wrong_suffix":  # What is in the file counts, not its name.
      self.assertEqual(refused, 0)
    elif kind not in ("flip_bytes", "flip_in_header", "zero_stretch", "repeat", "truncate"):
      self.assertEqual(refused, 12)


if __name__ == "__main__":
  absltest.main()
