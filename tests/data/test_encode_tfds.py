"""A tfds data set becomes records with its classes."""

import tensorflow_datasets as tfds
from absl.testing import absltest, parameterized

from ntm.data import shard_format
from ntm.data.encode_tfds import TfdsChunks
from ntm.data.sources import Tfds
from tests.helpers import encoding, runs


class TfdsTest(parameterized.TestCase):

  def test_a_data_set_is_encoded_with_its_classes(self):
    with tfds.testing.mock_data(num_examples=7):
      target = encoding.encode("mnist", kind="tfds", split="test")
      source = Tfds("mnist", "", "test", (16, 16, 3))
      expected = [int(source[i]["label"]) for i in range(7)]
    self.assertEqual([header for header, _ in encoding.records(target)],
                     [{"key": str(i), "label": label} for i, label in enumerate(expected)])
    self.assertEqual(shard_format.read_index(target)["num_classes"], 10)

  def test_examples_are_those_of_the_source(self):
    with tfds.testing.mock_data(num_examples=7):
      source = TfdsChunks("mnist", "", "train", 16, 5)
      theirs = Tfds("mnist", "", "train", (16, 16, 3))
      items = [item for i in range(2) for item in source.chunk(i)]
      self.assertEqual((source.weights, source.num_examples), ([5, 2], 7))
      self.assertEqual(items[6].load(16).pixels.tobytes(), theirs[6]["image"].tobytes())

  def test_the_split_is_the_one_that_was_asked_for(self):
    with tfds.testing.mock_data(num_examples=3):
      for split in ("train", "validation", "test"):
        source = TfdsChunks("imagenet2012", "", split, 16, 5)
        self.assertIn(f" {split}, 3 examples", source.names()[0])
        self.assertEqual(source.num_classes, 1000)

  def test_an_unknown_name_is_refused(self):
    code, stderr = runs.call("encode", *encoding.flags("mnst", "/tmp/none", "tfds"))
    self.assertEqual(code, 1)
    self.assertRegex(stderr, "error: the tfds name is 'mnst', of which tensorflow-datasets says")


if __name__ == "__main__":
  absltest.main()
