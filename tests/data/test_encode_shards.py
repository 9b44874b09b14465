"""Chunks become shards in the order of the source, whichever is decoded first."""

import pathlib
import tempfile
import time
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized
from array_record.python import array_record_module

from ntm.data import encode_shards, shard_format
from ntm.data.encode_sources import Example, Item
from ntm.data.unreadable import UnreadableError


class _Encoder:
  """Moments that are the first pixel of the image and of its mirror image."""

  image_size, batch_size, latent_shape = 2, 3, (1, 1, 1)

  def __init__(self, scale=1.0):
    self._scale = scale

  def start(self, images):
    images = np.stack(images) * self._scale
    one = np.stack([images[:, 0, 0, :1], images[:, 0, -1, :1]], axis=1)
    with np.errstate(over="ignore"):
      return np.stack([one, 0 * one], axis=2)[:, :, :, None, None].astype(np.float16)


class _Source:
  """Chunks of 7 and 1 examples, of which some cannot be read."""

  fields, num_classes, num_examples, weights = ("label",), 0, 8, [7, 1]

  def __init__(self, unreadable=()):
    self._unreadable = unreadable

  def chunk(self, number):
    for i in range(7) if number == 0 else [7]:
      yield Item(str(i), lambda size, i=i: self._load(i, size))

  def chunk_name(self, number):
    return f"chunk {number}"

  def _load(self, i, size):
    time.sleep(0.02 * (i % 3 == 0))
    if i in self._unreadable:
      raise UnreadableError(str(i), "broken", "path")
    pixels = np.full((size, size, 3), i, np.float32)
    pixels[:, -1] *= -1
    return Example(pixels, None if i in self._unreadable else i)


def _records(path):
  return [shard_format.unpack(record, (1, 1, 1))
          for record in array_record_module.ArrayRecordReader(str(path)).read_all()]


class EncodeShardsTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.root = pathlib.Path(tempfile.mkdtemp())

  @parameterized.parameters(((),), ((4,),), ((6,),))
  def test_records_are_in_order_without_the_unreadable(self, unreadable):
    seen = []
    done = encode_shards.run(_Source(unreadable), _Encoder(), self.root, [0, 1],
                             lambda done, total: seen.append((done, total)))
    expected = [i for i in range(8) if i not in unreadable]
    self.assertEqual(done, len(expected))
    found = [record for number in range(2)
             for record in _records(self.root / shard_format.shard_name(number))]
    self.assertEqual([header for header, _ in found],
                     [{"key": str(i), "label": i} for i in expected])
    self.assertEqual([moments[:, 0].ravel().tolist() for _, moments in found],
                     [[i, -i] for i in expected])
    entry = shard_format.read_json(shard_format.entry_path(self.root, 0))
    self.assertEqual((entry["examples"], entry["max_label"]), (7 - len(unreadable), max(
        i for i in expected if i < 7)))
    self.assertEqual(entry["unreadable"], {str(i): "broken" for i in unreadable})
    self.assertEqual(entry["sha256"], shard_format.digest(self.root / entry["file"]))
    self.assertEqual(seen[-1], (len(expected), 8))

  def test_an_example_is_readable_again_when_all_of_its_name_are(self):
    source = _Source((4, 6))
    again = lambda names, source: encode_shards.readable_again(source, 0, 2, names)
    self.assertFalse(again({"4", "6"}, source))
    self.assertTrue(again({"4", "6"}, _Source((6,))))
    self.assertFalse(again({"7"}, _Source()))  # Of another chunk.
    # Two rows of a table may name one image, of which one can be read from the start.
    twice = _Source((6,))
    twice.chunk = lambda number: [Item("4", lambda size, i=i: source._load(i, size))
                                  for i in (3, 4)]
    self.assertFalse(again({"4"}, twice))

  def test_moments_beyond_float16_end_the_run(self):
    with self.assertRaisesRegex(ValueError, "too large moments for '1'; expected finite float16"):
      encode_shards.run(_Source(), _Encoder(1e5), self.root, [0], lambda done, total: None)
    self.assertEmpty(list(self.root.glob("*.json")))

  def test_a_full_disk_is_named(self):
    full = RuntimeError("write() failed: No space left on device; writing x")
    with mock.patch.object(array_record_module, "ArrayRecordWriter", side_effect=full):
      with self.assertRaisesRegex(ValueError, "cannot be written .*No space left on device.; make"):
        encode_shards.run(_Source(), _Encoder(), self.root, [0], lambda done, total: None)


if __name__ == "__main__":
  absltest.main()
