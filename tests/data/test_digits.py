from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from ntm.config import DataConfig, ModelConfig
from ntm.data import affine, digits, sources
from ntm.data.digits import Digits, EndlessDigits


class DigitsTest(parameterized.TestCase):

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
    unseen = Digits("left_out", 9)
    self.assertEqual(len(train) + len(test) + len(unseen), 1797)
    labels = lambda source: {int(source[i]["label"]) for i in range(len(source))}
    self.assertSetEqual(labels(train) | labels(test), set(range(9)))
    self.assertSetEqual(labels(unseen), {9})

  @parameterized.parameters("train", "test", "fresh")
  def test_an_endless_draw_is_a_function_of_split_and_index(self, split):
    source, again = EndlessDigits(split), EndlessDigits(split)
    indices = np.array([2**30 - 1, 0, 5, 5, 70_000])
    batch = source.batch(indices)
    self.assertEqual((batch["image"].shape, batch["image"].dtype), ((5, 8, 8, 1), np.float32))
    for row, index in enumerate(indices):
      for name, value in again[int(index)].items():
        np.testing.assert_array_equal(value, batch[name][row])
    # Reading in several parts changes nothing.
    with mock.patch.object(digits, "_AT_A_TIME", 2):
      np.testing.assert_array_equal(source.batch(indices)["image"], batch["image"])

  def test_endless_draws_are_all_different_and_in_range(self):
    parts = [EndlessDigits(split).batch(np.arange(2000))["image"]
             for split in ("train", "test", "fresh")]
    images = np.concatenate(parts).reshape(6000, 64)
    self.assertLen(np.unique(images, axis=0), 6000)
    self.assertGreaterEqual(images.min(), -1)
    self.assertLessEqual(images.max(), 1)

  def test_endless_draws_are_their_splits_digits_with_their_classes(self):
    for split, of in (("train", "train"), ("test", "test"), ("fresh", "train")):
      with mock.patch.object(affine, "maps", return_value=(np.eye(2)[None], np.zeros((1, 2)))):
        batch = EndlessDigits(split).batch(np.arange(4000))
      originals = Digits(of)
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


if __name__ == "__main__":
  absltest.main()
