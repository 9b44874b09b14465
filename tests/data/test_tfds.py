import tempfile
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from ntm.config import DataConfig, ModelConfig
from ntm.data import sources
from ntm.data.tfds import Tfds

_MODEL = ModelConfig(image_shape=(28, 28, 1), patch_shape=(2, 2), num_classes=10)
_CLASS = mock.Mock(shape=(), num_classes=2)


def _tfds(example, label, images=True, splits=("train", "test")):
  """The train split of a data set of this one example, whose features these are."""
  import tensorflow_datasets as tfds
  features = {"label": label} | ({"image": mock.Mock()} if images else {})
  builder = mock.Mock(**{"as_data_source.return_value": [example]})
  builder.info = mock.Mock(features=features, splits=splits, full_name="fake:1.0.0")
  with mock.patch.object(tfds, "builder", return_value=builder):
    return Tfds("fake", "", "train", (8, 8, 3))


class TfdsTest(parameterized.TestCase):

  def test_tfds_through_its_own_mock(self):
    import tensorflow_datasets as tfds
    with tfds.testing.mock_data(num_examples=5):
      data = DataConfig(source="tfds", path="mnist")
      source = sources.load(data, _MODEL, "train")
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
        sources.load(data, _MODEL, "train")
      self.assertNotIn("\n", str(raised.exception))


if __name__ == "__main__":
  absltest.main()
