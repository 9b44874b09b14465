import dataclasses
import pathlib
import tempfile
from unittest import mock

import chex
import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

from ntm.config import DataConfig, ModelConfig
from ntm.data import affine, sources


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


_CLASS = mock.Mock(shape=(), num_classes=2)


def _tfds(example, label, images=True, splits=("train", "test")):
  """The train split of a data set of this one example, whose features these are."""
  import tensorflow_datasets as tfds
  features = {"label": label} | ({"image": mock.Mock()} if images else {})
  builder = mock.Mock(**{"as_data_source.return_value": [example]})
  builder.info = mock.Mock(features=features, splits=splits, full_name="fake:1.0.0")
  with mock.patch.object(tfds, "builder", return_value=builder):
    return sources.Tfds("fake", "", "train", (8, 8, 3))


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

  @parameterized.parameters("train", "test", "fresh")
  def test_an_endless_draw_is_a_function_of_split_and_index(self, split):
    source, again = sources.EndlessDigits(split), sources.EndlessDigits(split)
    indices = np.array([2**30 - 1, 0, 5, 5, 70_000])
    batch = source.batch(indices)
    self.assertEqual((batch["image"].shape, batch["image"].dtype), ((5, 8, 8, 1), np.float32))
    for row, index in enumerate(indices):
      for name, value in again[int(index)].items():
        np.testing.assert_array_equal(value, batch[name][row])
    # Reading in several parts changes nothing.
    with mock.patch.object(sources, "_AT_A_TIME", 2):
      np.testing.assert_array_equal(source.batch(indices)["image"], batch["image"])

  def test_endless_draws_are_all_different_and_in_range(self):
    parts = [sources.EndlessDigits(split).batch(np.arange(2000))["image"]
             for split in ("train", "test", "fresh")]
    images = np.concatenate(parts).reshape(6000, 64)
    self.assertLen(np.unique(images, axis=0), 6000)
    self.assertGreaterEqual(images.min(), -1)
    self.assertLessEqual(images.max(), 1)

  def test_endless_draws_are_their_splits_digits_with_their_classes(self):
    for split, digits in (("train", "train"), ("test", "test"), ("fresh", "train")):
      with mock.patch.object(affine, "maps", return_value=(np.eye(2)[None], np.zeros((1, 2)))):
        batch = sources.EndlessDigits(split).batch(np.arange(4000))
      originals = sources.Digits(digits)
      classes = {originals[i]["image"].tobytes(): int(originals[i]["label"])
                 for i in range(len(originals))}
      drawn = {image.tobytes(): int(label) for image, label in zip(*batch.values())}
      self.assertEqual({key: classes[key] for key in drawn}, drawn)
      self.assertGreater(len(drawn), 0.9 * len(originals))  # All may be drawn.

  def test_endless_digits_without_a_class(self):
    data = DataConfig(left_out=3, augment=True)
    for split in sources.SPLITS:
      source = sources.load(data, ModelConfig(), split)
      self.assertEqual(set(source.batch(np.arange(1000))["label"].tolist()), {*range(10)} - {3})

  def test_the_record_of_endless_digits_is_another_one(self):
    records = [sources.load(DataConfig(augment=augment), ModelConfig(), split).record()[0]
               for augment in (False, True) for split in sources.SPLITS]
    self.assertLen(set(records), 4)

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

  @parameterized.parameters((np.uint8, 3), (np.uint16, 1), (np.uint8, 4), (np.uint8, 2))
  def test_tfds_of_other_depths_and_channels(self, dtype, channels):
    white = np.full((4, 6, channels), np.iinfo(dtype).max, dtype)
    source = _tfds({"image": white, "label": 1}, label=_CLASS)
    np.testing.assert_array_equal(source[0]["image"], np.ones((8, 8, 3)))
    self.assertEqual(source[0]["label"], 1)

  @parameterized.parameters(
      (np.zeros((4, 4, 3), np.float32), 0, "example 0 of fake:1.0.0 train cannot be used: it has "
       "float32 pixels"),
      (np.zeros((4, 4, 7), np.uint8), 0, r"shape \(4, 4, 7\)"),
      (np.zeros((4, 4, 3), np.uint8), -1, "example 0 of fake:1.0.0 train has label -1; expected 0 "
       "to 1"))
  def test_a_tfds_example_that_cannot_be_used_is_named(self, pixels, label, message):
    with self.assertRaisesRegex(ValueError, message):
      _tfds({"image": pixels, "label": label}, label=_CLASS)[0]

  @parameterized.parameters(
      (dict(label=_CLASS, splits=("test",)), "has splits .'test'.; expected 'train'"),
      (dict(label=_CLASS, images=False), "has features .'label'.; expected 'image'"),
      (dict(label=mock.Mock(shape=(None,), num_classes=2)), "label' of one class per image"),
      (dict(label=mock.Mock(shape=(), spec=["shape"])), "label' of one class per image"))
  def test_tfds_sets_that_do_not_fit_are_refused(self, how, message):
    with self.assertRaisesRegex(ValueError, message):
      _tfds({"image": np.zeros((4, 4, 3), np.uint8), "label": 0}, **how)

  def test_tfds_sets_that_are_unknown_or_not_prepared_are_one_line(self):
    data = DataConfig(source="tfds", path="mnst", data_dir=tempfile.mkdtemp())
    for name, message in (("mnst", "is 'mnst', of which .* says: Dataset mnst not found"),
                          ("mnist", "'mnist' cannot be read .*; prepare it in config.data.data_")):
      data = DataConfig(source="tfds", path=name, data_dir=tempfile.mkdtemp())
      with self.assertRaisesRegex(ValueError, message) as raised:
        sources.load(data, _model((28, 28, 1), 10), "train")
      self.assertNotIn("\n", str(raised.exception))

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
