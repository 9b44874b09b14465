"""What a directory of shards lacks, and when it is complete."""

import pathlib
import tempfile
from unittest import mock

from absl.testing import absltest, parameterized

from ntm.data import encode, shard_format
from ntm.data.encode_sources import Item
from ntm.data.unreadable import UnreadableError

_SETTINGS = {"image_size": 16, "crop": "centre", "source": {"chunks": 3},
             "flags": {"image_size": 16, "source": "a"}}


def _broken(size):
  raise UnreadableError("x.png", "broken", "x.png")


def _source(load=_broken):
  """Three chunks, each with an example that `load` reads."""
  return mock.Mock(weights=[4, 4, 4], num_classes=0, fields=(),
                   chunk=lambda number: iter([Item(f"{number}.png", load)]))


_SOURCE = _source()


def _write(root, number, **changes):
  """A shard of four examples and its entry."""
  path = root / shard_format.shard_name(number)
  path.write_bytes(bytes([number]))
  shard_format.write_json(shard_format.entry_path(root, number), {
      "number": number, "file": path.name, "examples": 4, "max_label": number, "unreadable": {},
      "bytes": 1, "sha256": shard_format.digest(path)} | changes)


class EncodeDirectoryTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.root = pathlib.Path(tempfile.mkdtemp()) / "shards"
    self.assertIsNone(encode.check(self.root, _SETTINGS))
    encode.start(self.root, _SETTINGS)

  def test_processes_share_what_is_missing(self):
    _write(self.root, 1)
    shares = [encode.pending(self.root, range(process, 3, 2), _SOURCE, 16) for process in range(2)]
    self.assertEqual(shares, [[0, 2], []])

  def test_shards_that_changed_or_have_a_damaged_entry_are_missing(self):
    for number in range(3):
      _write(self.root, number)
    (self.root / shard_format.shard_name(0)).write_bytes(b"x")
    shard_format.entry_path(self.root, 1).write_text("{")
    self.assertEqual(encode.pending(self.root, range(3), _SOURCE, 16), [0, 1])

  def test_a_complete_index_lists_all_and_can_be_reopened(self):
    for number in range(3):
      _write(self.root, number, unreadable={"x.png": "broken"} if number == 1 else {})
    index = encode.finish(self.root, _SOURCE)
    self.assertEqual((index["examples"], index["unreadable"], index["num_classes"]), (12, 1, 3))
    self.assertEqual(encode.wait(self.root), index)
    self.assertEmpty(list(self.root.glob("shard-*.json")))
    self.assertEqual((self.root / "unreadable.txt").read_text(),
                     "x.png\tbroken\tshard-000001.array_record\n")
    encode.reopen(self.root, encode.check(self.root, _SETTINGS))
    self.assertFalse(shard_format.read_index(self.root)["complete"])
    self.assertEmpty(encode.pending(self.root, range(3), _SOURCE, 16))
    self.assertEqual(encode.finish(self.root, _SOURCE), index)

  def test_shards_lack_examples_that_can_be_read_by_now(self):
    for number in range(3):
      _write(self.root, number, unreadable={f"{number}.png": "broken"} if number else {})
    self.assertEmpty(encode.pending(self.root, range(3), _SOURCE, 16))
    with self.assertLogs("ntm", "WARNING") as logs:
      missing = encode.pending(self.root, range(3), _source(lambda size: None), 16)
    self.assertEqual(missing, [1, 2])
    self.assertIn("lacks examples that can be read by now; it is encoded again", logs.output[0])
    self.assertFalse(shard_format.entry_path(self.root, 1).exists())

  def test_without_unreadable_examples_no_list_is_left(self):
    (self.root / "unreadable.txt").write_text("x.png\tbroken\tshard-000001.array_record\n")
    for number in range(3):
      _write(self.root, number)
    encode.finish(self.root, _SOURCE)
    self.assertFalse((self.root / "unreadable.txt").exists())

  def test_too_many_unreadable_examples_leave_the_index_open(self):
    for number in range(3):
      _write(self.root, number, unreadable={f"{number}.png": "broken"})
    with self.assertRaisesRegex(ValueError, "3 examples cannot be read, and at most 1 of 15 may"):
      encode.finish(self.root, _SOURCE)
    self.assertFalse(shard_format.read_index(self.root)["complete"])

  def test_flags_may_change_that_change_nothing(self):
    self.assertIsNotNone(encode.check(
        self.root, _SETTINGS | {"flags": {"image_size": 16, "source": "b"}}))

  @parameterized.parameters(
      ({"image_size": 8, "flags": {"image_size": 8, "source": "a"}},
       "with --image_size=16, and now it is --image_size=8; repeat"),
      ({"source": {"chunks": 4}}, "--source is a, and .* was encoded with another content"),
      ({"crop": "none"}, "encoded with crop centre, and now it is none; choose another"))
  def test_a_change_is_refused_by_what_the_user_can_change(self, changes, message):
    with self.assertRaisesRegex(ValueError, message):
      encode.check(self.root, _SETTINGS | changes)

  def test_a_disk_without_room_is_named_before_any_work(self):
    encoder = mock.Mock(latent_shape=(32, 32, 4))
    encode.check_disk(self.root, encoder, 1)
    with self.assertRaisesRegex(ValueError, "shards needs 32768000.00 GB, and its disk has"):
      encode.check_disk(self.root, encoder, 10**12)


if __name__ == "__main__":
  absltest.main()
