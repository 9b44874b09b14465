"""Rows of Parquet files become the same records as a folder of the images."""

import io
import pathlib
import tempfile
from unittest import mock

import pyarrow as pa
from absl.testing import absltest, parameterized
from pyarrow import parquet

from ntm.data.encode_parquet import ParquetChunks
from ntm.data.unreadable import UnreadableError
from tests.helpers import encoding


def _png(number):
  file = io.BytesIO()
  encoding.picture(number).save(file, "PNG")
  return file.getvalue()


class ParquetTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.root = pathlib.Path(tempfile.mkdtemp())

  def _write(self, name, columns, rows_per_group=100):
    parquet.write_table(pa.table(columns), self.root / name, row_group_size=rows_per_group)

  def test_files_are_encoded_as_the_pictures_of_a_folder(self):
    images = [{"bytes": _png(n), "path": f"{n}.png"} for n in range(12)]
    for name, part in (("a.parquet", slice(0, 7)), ("b.parquet", slice(7, 12))):
      self._write(name, {"image": images[part], "label": [n // 6 for n in range(12)][part]}, 3)
    found = encoding.records(encoding.encode(self.root, kind="parquet"))
    self.assertEqual([header for header, _ in found], [
        {"key": f"a.parquet/{n}" if n < 7 else f"b.parquet/{n - 7}", "label": n // 6}
        for n in range(12)])
    for (_, ours), (_, theirs) in zip(found, encoding.records(encoding.encode(encoding.folder()))):
      self.assertLess(abs(ours.astype(float) - theirs.astype(float)).max(), 0.01)

  @parameterized.parameters((2, [2, 2, 2, 1]), (4, [4, 3]), (5, [4, 3]), (100, [7]))
  def test_row_groups_are_joined_into_chunks(self, size, expected):
    self._write("a.parquet", {"jpg": [_png(n) for n in range(7)]}, 2)
    source = ParquetChunks(str(self.root), size)
    self.assertEqual(source.weights, expected)
    self.assertEqual([item.key for i in range(len(expected)) for item in source.chunk(i)],
                     [f"a.parquet/{n}" for n in range(7)])
    self.assertEqual(source.fields, ())

  def test_an_example_that_cannot_be_read_is_one(self):
    self._write("a.parquet", {"image": [_png(0), None, b"x", _png(3)],
                              "text": ["a ", "b", "c", None], "label": [1, 2, 3, -1]})
    good, empty, damaged, negative = ParquetChunks(str(self.root / "a.parquet"), 9).chunk(0)
    self.assertEqual((good.load(16).caption, good.load(16).label), ("a", 1))
    for item, reason in ((empty, "its image is of type NoneType"), (damaged, "none of the formats"),
                         (negative, "its class is -1; expected an integer from 0")):
      with self.assertRaisesRegex(UnreadableError, reason):
        item.load(16)

  def test_what_is_no_data_set_is_refused(self):
    open_all = lambda: ParquetChunks(str(self.root), 9)
    with self.assertRaisesRegex(ValueError, "where there are no .parquet files"):
      open_all()
    self._write("a.parquet", {"picture": [b""]})
    with self.assertRaisesRegex(ValueError, "has columns picture; expected images in one of image"):
      open_all()
    self._write("b.parquet", {"image": [b""]})
    with self.assertRaisesRegex(ValueError, "b.parquet has columns image, and .*has picture"):
      open_all()
    (self.root / "a.parquet").write_bytes((self.root / "b.parquet").read_bytes()[:-9])
    with self.assertRaisesRegex(ValueError, "a.parquet cannot be read as Parquet .*; replace it"):
      open_all()
    self._write("a.parquet", {"image": pa.array([], pa.binary())})
    (self.root / "b.parquet").unlink()
    with self.assertRaisesRegex(ValueError, "of 1 Parquet files without rows"):
      open_all()
    with mock.patch.dict("sys.modules", {"pyarrow": None}):
      with self.assertRaisesRegex(ImportError, r"pip install 'ntm\[parquet\]'"):
        open_all()


if __name__ == "__main__":
  absltest.main()
