import pathlib
import tempfile
from unittest import mock

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

  def test_digits_have_the_protocols_split_and_range(self):
    train, test = (sources.load(DataConfig(), ModelConfig(), split) for split in sources.SPLITS)
    self.assertEqual((len(train), len(test)), (1500, 297))
    images = np.stack([train[i]["image"] for i in range(len(train))])
    self.assertEqual((images.shape, images.dtype), ((1500, 8, 8, 1), np.float32))
    self.assertEqual((images.min(), images.max()), (-1, 1))
    self.assertSetEqual({int(train[i]["label"]) for i in range(50)}, set(range(10)))

  def test_a_left_out_class_is_in_neither_split(self):
    data = DataConfig(left_out=9)
    train, test = (sources.load(data, ModelConfig(), split) for split in sources.SPLITS)
    unseen = sources.Digits("left_out", 9)
    self.assertEqual(len(train) + len(test) + len(unseen), 1797)
    labels = lambda source: {int(source[i]["label"]) for i in range(len(source))}
    self.assertSetEqual(labels(train) | labels(test), set(range(9)))
    self.assertSetEqual(labels(unseen), {9})

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

  def test_tfds_through_its_own_mock(self):
    import tensorflow_datasets as tfds
    with tfds.testing.mock_data(num_examples=5):
      data = DataConfig(source="tfds", path="mnist")
      source = sources.load(data, _model((28, 28, 1), 10), "train")
      example = source[3]
    self.assertLen(source, 5)
    self.assertEqual(example["image"].shape, (28, 28, 1))
    self.assertBetween(int(example["label"]), 0, 9)
    self.assertBetween(example["image"].min(), -1, 1)

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

  def test_a_file_that_is_no_image_is_named(self):
    root = _folder()
    (root / "class_0" / "000.png").write_text("not a picture")
    data = DataConfig(source="folder", path=str(root))
    with self.assertRaisesRegex(ValueError, "000.png is not a readable image"):
      sources.load(data, _model(), "train")

  def test_a_missing_extra_is_named(self):
    with mock.patch.dict("sys.modules", {"tensorflow_datasets": None, "sklearn": None}):
      for name, extra in (("tfds", r"ntm\[tfds\]"), ("digits", r"ntm\[digits\]")):
        with self.assertRaisesRegex(ImportError, extra):
          sources.load(DataConfig(source=name, path="mnist"), ModelConfig(), "train")


if __name__ == "__main__":
  absltest.main()
