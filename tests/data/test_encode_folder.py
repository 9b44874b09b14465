"""Which captions and classes the images of a folder have."""

import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from ntm.data import encode_sources
from ntm.data.encode_folder import FolderChunks
from ntm.data.folder import Folder
from ntm.data.unreadable import UnreadableError
from tests.helpers import encoding


def _load(source):
  return [item.load(16) for i in range(len(source.weights)) for item in source.chunk(i)]


class FolderChunksTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.root = pathlib.Path(tempfile.mkdtemp())
    for i in range(4):
      encoding.picture(i).save(self.root / f"{i}.png")

  def test_sub_directories_are_classes_and_examples_those_of_training(self):
    root = encoding.folder(classes=3, count=2)
    source, theirs = FolderChunks(str(root), 4), Folder(str(root), "train", (16, 16, 3), 1e-9)
    self.assertEqual((source.fields, source.num_classes), (("label",), 3))
    self.assertEqual(source.weights, [4, 2])
    examples = _load(source)
    self.assertLen(examples, len(theirs))
    for i, example in enumerate(examples):
      self.assertEqual(example.label, theirs[i]["label"])
      np.testing.assert_array_equal(example.pixels, theirs[i]["image"])

  def test_a_flat_folder_has_no_classes(self):
    source = FolderChunks(str(self.root), 9)
    self.assertEqual((source.fields, source.num_classes), ((), 0))
    self.assertEqual([(example.label, example.caption) for example in _load(source)],
                     [(None, None)] * 4)

  def test_captions_in_text_files(self):
    for i in range(4):
      (self.root / f"{i}.txt").write_bytes(f"number {i}\n".encode())
    with self.assertNoLogs("ntm", "WARNING"):  # That they are no images.
      source = FolderChunks(str(self.root), 9)
    self.assertEqual([example.caption for example in _load(source)],
                     [f"number {i}" for i in range(4)])
    (self.root / "1.txt").unlink()
    (self.root / "2.txt").write_bytes(b"\xff")
    _, missing, binary, _ = FolderChunks(str(self.root), 9).chunk(0)
    for item, reason in ((missing, "1.txt cannot be read: No such file"),
                         (binary, "2.txt cannot be read: it is not UTF-8")):
      with self.assertRaisesRegex(UnreadableError, reason):
        item.load(16)

  def test_captions_in_a_table(self):
    table = self.root / "captions.csv"
    table.write_text('url,file,caption\nx,2.png,"two, ""2"""\nx,0.png,zero\nx,9.png,gone\n')
    source = FolderChunks(str(self.root), 9)
    two, zero, gone = source.chunk(0)
    self.assertEqual([(item.key, item.load(16).caption) for item in (two, zero)],
                     [("2.png", 'two, "2"'), ("0.png", "zero")])
    with self.assertRaisesRegex(UnreadableError, "No such file"):
      gone.load(16)
    before = encode_sources.fingerprint(source)
    table.write_text(table.read_text().replace("zero", "none"))
    self.assertNotEqual(encode_sources.fingerprint(FolderChunks(str(self.root), 9)), before)

  @parameterized.parameters(
      ({"a.csv": "name,text\n1,2\n"}, "a.csv has columns name, text; expected file and caption"),
      ({"a.csv": "file,caption\n0.png\n"}, "has no file or no caption in row 1"),
      ({"a.csv": "file,caption\n"}, "where there are no images"),
      ({"a.csv": b"\xff\xfe,caption\n"}, "a.csv cannot be read as CSV"),
      ({"a.csv": "", "b.csv": ""}, "which holds 2 CSV files; expected at most one"))
  def test_tables_that_do_not_fit_are_refused(self, files, message):
    for name, text in files.items():
      (self.root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with self.assertRaisesRegex(ValueError, message):
      FolderChunks(str(self.root), 9)

  def test_an_empty_folder_is_refused(self):
    with self.assertRaisesRegex(ValueError, "where there are no images"):
      FolderChunks(tempfile.mkdtemp(), 9)


if __name__ == "__main__":
  absltest.main()
