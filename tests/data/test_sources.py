import dataclasses
import pathlib
import tempfile
from unittest import mock

import chex
import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

from ntm.config import DataConfig, ModelConfig
from ntm.data import sources


def _folder(classes=2, count=10, size=(12, 10)):
  """A directory of images whose red channel tells class and number."""
  root = pathlib.Path(tempfile.mkdtemp())
  for label in range(classes):
    directory = root / f"class_{label}" if classes > 1 else root
    directory.mkdir(exist_ok=True)
    for i in range(count):
      pixels = np.full(size + (3,), 0, np.uint8)
      pixels[..., 0] = 100 * label + 10 * i
      Image.fromarray(pixels).save(directory / f"{i:03}.png")
  return root


def _model(shape=(8, 8, 3), classes=2):
  return ModelConfig(image_shape=shape, patch_shape=(2, 2), num_classes=classes)


class SourcesTest(parameterized.TestCase):

  def test_interpolated_values_have_no_levels(self):
    self.assertEqual(sources.level_spacing(DataConfig()), 1 / 8)
    with self.assertRaisesRegex(ValueError, "augment is True, and interpolated images have no lev"):
      sources.level_spacing(DataConfig(augment=True))

  def test_folder_reads_classes_splits_and_scale(self):
    root = _folder()
    data = DataConfig(source="folder", path=str(root), test_fraction=0.2)
    train, test = (sources.load(data, _model(), split) for split in sources.SPLITS)
    self.assertEqual((len(train), len(test)), (16, 4))
    seen = {(int(e["label"]), round((e["image"][0, 0, 0] + 1) * 127.5))
            for source in (train, test) for e in (source[i] for i in range(len(source)))}
    self.assertSetEqual(seen, {(c, 100 * c + 10 * i) for c in range(2) for i in range(10)})
    np.testing.assert_allclose(train[0]["image"][..., 1], -1)

  def test_flat_folder_is_unconditional(self):
    data = DataConfig(source="folder", path=str(_folder(classes=1)))
    self.assertLen(sources.load(data, _model(classes=0), "train"), 9)

  def test_crops_around_the_centre_and_resizes(self):
    root = pathlib.Path(tempfile.mkdtemp())
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, 20:40] = 255  # Only this third survives the crop to a square.
    for i in range(2):
      Image.fromarray(pixels).save(root / f"{i}.png")
    data = DataConfig(source="folder", path=str(root), test_fraction=0.5)
    image = sources.load(data, _model(classes=0), "train")[0]["image"]
    self.assertEqual(image.shape, (8, 8, 3))
    np.testing.assert_allclose(image[:, 1:-1], 1, atol=0.02)

  @parameterized.parameters(("grid25", 25), ("ring8", 8), ("checkerboard", 8), ("templates", 16))
  def test_mixtures_are_endless_draws_by_index(self, name, components):
    shape = (8, 9, 1) if name == "templates" else (2, 1)
    model = ModelConfig(image_shape=shape, patch_shape=(1,) * (len(shape) - 1),
                        num_classes=components)
    data = DataConfig(source="mixture", mixture=name)
    train, test = (sources.load(data, model, split) for split in sources.SPLITS)
    self.assertGreaterEqual(len(train), 2**20)
    example, again = train[2**29], sources.load(data, model, "train")[2**29]
    self.assertEqual((example["image"].shape, example["image"].dtype), (shape, np.float32))
    self.assertBetween(example["label"], 0, components - 1)
    chex.assert_trees_all_equal(example, again)
    images = {source[i]["image"].tobytes() for source in (train, test) for i in range(200)}
    self.assertLen(images, 400)
    self.assertEqual(sources.load(data, dataclasses.replace(model, num_classes=0),
                                  "train").record(), train.record())
    self.assertNotEqual(test.record(), train.record())
    with self.assertRaisesRegex(ValueError, f"mixture has {components} classes, but"):
      sources.load(data, dataclasses.replace(model, num_classes=3), "train")

  @parameterized.parameters(
      (dict(source="folder", path="/nowhere"), _model(), "'/nowhere', which is not a directory"),
      (dict(source="folder", path=""), _model(), "not a directory"),
      (dict(source="folder", path=tempfile.mkdtemp()), _model(), "has no train images"),
      (dict(), _model((8, 8, 3), 10), r"images have shape \(8, 8, 1\)"),
      (dict(), _model((8, 8, 1), 3), "has 10 classes, but config.model.num_classes is 3"),
      (dict(), ModelConfig(image_shape=(8, 1), patch_shape=(2,)), "image_shape is"),
      (dict(source="tfds", path=""), _model(), "path is empty"))
  def test_mistakes_are_named(self, data, model, message):
    with self.assertRaisesRegex(ValueError, message):
      sources.load(DataConfig(**data), model, "train")

  def test_a_file_that_is_no_image_is_named_when_it_is_read(self):
    root = _folder()
    (root / "class_0" / "000.png").write_text("not a picture")
    source = sources.load(DataConfig(source="folder", path=str(root)), _model(), "train")
    with self.assertRaisesRegex(ValueError, "000.png is not a readable image: it is in none of"):
      source[0]
    self.assertEqual(source[1]["image"].shape, (8, 8, 3))

  def test_a_folder_without_a_readable_image_is_refused_at_once(self):
    root = pathlib.Path(tempfile.mkdtemp())
    for i in range(7):
      Image.new("F", (8, 8)).save(root / f"{i}.tif")
    with self.assertRaisesRegex(ValueError, r"none of 6 examples in a row can be read: 0.tif \(it "
                                r"has float pixels \(mode F\), whose range.* and 1 more"):
      sources.load(DataConfig(source="folder", path=str(root), test_fraction=0.2),
                   _model(classes=0), "train")

  def test_a_missing_extra_is_named(self):
    with mock.patch.dict("sys.modules", {"tensorflow_datasets": None, "sklearn": None}):
      for name, extra in (("tfds", r"ntm\[tfds\]"), ("digits", r"ntm\[digits\]")):
        with self.assertRaisesRegex(ImportError, extra):
          sources.load(DataConfig(source=name, path="mnist"), ModelConfig(), "train")


if __name__ == "__main__":
  absltest.main()
