"""What all sources of an encoding share: files, chunks, classes, fingerprints."""

import pathlib
import tempfile
from unittest import mock

from absl.testing import absltest, parameterized

from ntm.data import encode_sources
from ntm.data.unreadable import UnreadableError


class EncodeSourcesTest(parameterized.TestCase):

  def test_files_of_a_directory_a_pattern_or_one(self):
    root = pathlib.Path(tempfile.mkdtemp())
    for name in ("b.tar", "a.tar", ".c.tar", "d.txt"):
      (root / name).write_text("")
    names = lambda source: [p.name for p in encode_sources.files(str(source), (".tar",))]
    self.assertEqual(names(root), ["a.tar", "b.tar"])
    self.assertEqual(names(root / "b*"), ["b.tar"])
    self.assertEqual(names(root / "d.txt"), ["d.txt"])
    for missing in (root / "none", root / "x*"):
      with self.assertRaisesRegex(ValueError, "where there are no .tar files; expected a file"):
        names(missing)

  @parameterized.parameters(0, 1, 5, 6)
  def test_ranges_are_consecutive_and_cover_all(self, count):
    ranges = encode_sources.ranges(count, 3)
    self.assertEqual([i for pair in ranges for i in range(*pair)], list(range(count)))

  @parameterized.parameters((3, 3), ("17", 17), (2.0, 2))
  def test_classes(self, value, label):
    self.assertEqual(encode_sources.integer("key", value, "path"), label)

  @parameterized.parameters(-1, "cat", 1.5, 2**31, float("nan"), [[1]])
  def test_what_is_no_class(self, value):
    with self.assertRaisesRegex(UnreadableError, "expected an integer from 0"):
      encode_sources.integer("key", value, "path")

  def test_fingerprints_differ_by_names_fields_and_classes(self):
    source = lambda names, fields=("label",), classes=2: encode_sources.fingerprint(
        mock.Mock(names=lambda: names, fields=fields, num_classes=classes))
    same = source(["a", "b"])
    self.assertEqual(source(["a", "b"]), same)
    for other in (source(["ab"]), source(["b", "a"]), source(["a", "b"], ()),
                  source(["a", "b"], classes=3)):
      self.assertNotEqual(other, same)

  @parameterized.parameters((b"", "the file is empty"), (b"x", "it is in none of the formats"))
  def test_bytes_that_are_no_image_are_named(self, data, reason):
    with self.assertRaisesRegex(UnreadableError, f"path is not a readable image: {reason}"):
      encode_sources.decode("key", data, "path")


if __name__ == "__main__":
  absltest.main()
