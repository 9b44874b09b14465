"""What of a directory is a class, an image, a test image; and what is passed over."""

import logging
import os
import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

from ntm.config import DataConfig, ModelConfig
from ntm.data import sources
from ntm.data.folder import Folder
from ntm.data.unreadable import UnreadableError


def _write(root, *names, size=(6, 4)):
  """Images of these names below a directory, level of grey n for the n-th."""
  for number, name in enumerate(names):
    path = pathlib.Path(root) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, number).save(path, "PNG")


def _names(root, fraction=0.001):
  return Folder(str(root), "train", (8, 8, 1), fraction).names


class FolderTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.root = pathlib.Path(tempfile.mkdtemp())

  def test_hidden_files_and_folders_are_neither_images_nor_classes(self):
    _write(self.root, "a/1.png", "b/2.png")
    expected = _names(self.root)
    _write(self.root, "a/._1.png", "a/.hidden.png", ".git/x.png", ".ipynb_checkpoints/1.png",
           "__MACOSX/a/._1.png", "a/.thumbs/1.png", "b/__MACOSX/2.png")
    self.assertEqual(_names(self.root), expected)
    self.assertEqual(Folder(str(self.root), "train", (8, 8, 1), 0.1).num_classes, 2)

  def test_a_flat_folder_with_hidden_folders_stays_flat(self):
    _write(self.root, "1.png", "2.png", ".ipynb_checkpoints/1.png")
    self.assertEqual(_names(self.root), ["1.png", "2.png"])

  def test_suffixes_of_any_case_and_nested_folders_in_the_order_of_paths(self):
    _write(self.root, "a/B.PNG", "a/sub/2.Jpeg", "a/sub-1/1.tif", "a/a.webp", "b/1.bmp")
    expected = sorted(p for p in self.root.rglob("*") if p.is_file())
    self.assertEqual(_names(self.root), [p.relative_to(self.root).as_posix() for p in expected])

  def test_links_are_followed_but_not_in_circles(self):
    elsewhere = pathlib.Path(tempfile.mkdtemp())
    _write(elsewhere, "3.png")
    _write(self.root, "a/1.png", "b/2.png")
    os.symlink(elsewhere, self.root / "a" / "link")
    for target, link in (("a", "a/up"), (".", "b/top"), ("a/1.png", "b/one.png")):
      os.symlink(self.root / target, self.root / link)
    self.assertEqual(_names(self.root), ["a/1.png", "a/link/3.png", "b/2.png", "b/one.png"])

  def test_a_broken_link_is_an_unreadable_image(self):
    _write(self.root, "1.png")
    os.symlink(self.root / "gone.png", self.root / "2.png")
    source = Folder(str(self.root), "train", (8, 8, 1), 0.001)
    with self.assertRaisesRegex(UnreadableError, "2.png is not a readable image: No such file"):
      source[1]

  def test_a_class_without_images_is_refused(self):
    _write(self.root, "a/1.png", "b/.hidden.png", "c/1.png")
    (self.root / "d").mkdir()
    with self.assertRaisesRegex(ValueError, r"has folders without images \(b, d\)"):
      _names(self.root)

  def test_what_is_not_used_is_said_once(self):
    _write(self.root, "a/1.png", "a/2.png", "cover.png")
    (self.root / "a" / "notes.txt").write_text("")
    (self.root / "a" / "3.heic").write_text("")
    with self.assertLogs("ntm", logging.WARNING) as logs:
      for split in sources.SPLITS:
        Folder(str(self.root), split, (8, 8, 1), 0.5)
    self.assertLen(logs.output, 2)
    self.assertIn("images outside of its class folders; they are not used", logs.output[0])
    self.assertIn("not read as images: 1 .heic, 1 .txt", logs.output[1])

  def test_sound_folders_say_nothing(self):
    _write(self.root, "a/1.png", "b/2.png")
    with self.assertNoLogs("ntm"):
      _names(self.root)

  @parameterized.product(size=((1, 1), (1, 300), (300, 1), (3, 5), (200, 90)),
                         shape=((8, 8, 1), (8, 12, 3), (16, 4, 3)))
  def test_sizes_and_channels_may_be_mixed(self, size, shape):
    _write(self.root, "black.png", "one.png", size=size)
    data = DataConfig(source="folder", path=str(self.root), test_fraction=0.5)
    model = ModelConfig(image_shape=shape, patch_shape=(1, 1), num_classes=0)
    for split, level in zip(sources.SPLITS, (0, 1)):
      image = sources.load(data, model, split)[0]["image"]
      self.assertEqual(image.shape, shape)
      np.testing.assert_allclose(image, level / 127.5 - 1, atol=1e-6)

  def test_records_of_both_splits_are_all_files(self):
    _write(self.root, *(f"{c}/{n}.png" for c in "ab" for n in range(10)))
    train, test = (Folder(str(self.root), split, (8, 8, 1), 0.3).record()
                   for split in sources.SPLITS)
    self.assertLen(test, 6)
    self.assertLen({*train, *test}, 20)


if __name__ == "__main__":
  absltest.main()
