"""Unreadable examples are counted and listed, and too many are an error."""

import pathlib
import tempfile

from absl.testing import absltest

from ntm.data.encode_failures import Failures
from ntm.data.unreadable import UnreadableError


def _error(number):
  return UnreadableError(f"{number}.png", "empty", f"/data/{number}.png")


class FailuresTest(absltest.TestCase):

  def setUp(self):
    super().setUp()
    self.root = pathlib.Path(tempfile.mkdtemp())

  def test_one_percent_may_be_unreadable(self):
    failed = Failures(self.root, 300)
    for number in range(3):
      failed.next_shard(f"shard {number}")
      failed.add(_error(number))
    self.assertEqual(failed.shard, {"2.png": "empty"})
    with self.assertRaisesRegex(ValueError, "4 examples cannot be read, and at most 3 of 300 may"):
      failed.add(_error(3))
    self.assertEqual((self.root / "unreadable.txt").read_text().splitlines(), [
        "0.png\tempty\tshard 0", "1.png\tempty\tshard 1", "2.png\tempty\tshard 2",
        "3.png\tempty\tshard 2"])

  def test_a_hundred_in_a_row_end_a_run_of_unknown_length(self):
    failed = Failures(self.root, None)
    failed.next_shard("shard")
    for number in range(99):
      failed.add(_error(number))
    failed.readable()
    for number in range(99, 198):
      failed.add(_error(number))
    with self.assertRaisesRegex(ValueError, "none of 100 examples in a row can be read"):
      failed.add(_error(198))


if __name__ == "__main__":
  absltest.main()
