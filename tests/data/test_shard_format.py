"""Records and indices are read as they were written, or refused."""

import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from ntm.data import shard_format


class ShardFormatTest(parameterized.TestCase):

  @parameterized.parameters(({"key": "a/1.png", "label": 7},), ({"key": "", "caption": "é 漢\n"},),
                            ({"key": "\udcff.png"},))
  def test_records_are_read_as_they_were_written(self, header):
    moments = np.random.default_rng(0).normal(size=(2, 2, 3, 4, 5)).astype(np.float16)
    record = shard_format.pack(header, moments)
    found, read = shard_format.unpack(record, (3, 4, 5))
    self.assertEqual(found, header)
    np.testing.assert_array_equal(read, moments)
    for damaged in (record[:-1], record + b"x", b"", b"ab"):
      with self.assertRaisesRegex(ValueError, "a record has .* bytes; expected"):
        shard_format.unpack(damaged, (3, 4, 5))

  def test_float16_rounds_as_the_docstring_says(self):
    values = np.exp(np.random.default_rng(0).uniform(np.log(3e-7), np.log(2e4), 100_000))
    error = np.abs(values.astype(np.float16).astype(np.float64) - values)
    normal = values > 6.2e-5
    self.assertBetween((error / values)[normal].max(), 4.5e-4, 4.9e-4)
    self.assertBetween(error[~normal].max(), 2.9e-8, 3.0e-8)

  def test_indices_are_whole_of_this_version_and_undamaged(self):
    root = pathlib.Path(tempfile.mkdtemp())
    path = shard_format.index_path(root)
    with self.assertRaisesRegex(ValueError, "index.json does not exist; expected a directory of"):
      shard_format.read_index(root)
    shard_format.write_json(path, {"version": shard_format.VERSION, "name": "é\udcff"})
    self.assertEqual(shard_format.read_index(root)["name"], "é\udcff")
    self.assertEqual([p.name for p in root.iterdir()], ["index.json"])
    whole = path.read_bytes()
    for damaged in (whole[:20], whole.replace(b"name", b"nome"), b"\xff"):
      path.write_bytes(damaged)
      with self.assertRaisesRegex(ValueError, "index.json is damaged"):
        shard_format.read_index(root)

  def test_digests(self):
    path = pathlib.Path(tempfile.mkdtemp()) / "file"
    self.assertEqual(shard_format.digest(path), "")
    path.write_bytes(b"")
    self.assertStartsWith(shard_format.digest(path), "e3b0c442")


if __name__ == "__main__":
  absltest.main()
