import pathlib
import tempfile

import numpy as np
from absl.testing import absltest

from ntm.data import text_features


class ReadTest(absltest.TestCase):

  def setUp(self):
    super().setUp()
    self.directory = pathlib.Path(tempfile.mkdtemp())

  def _save(self, **arrays):
    path = self.directory / "texts.npz"
    np.savez(path, **arrays)
    return path

  def test_what_was_written_comes_back(self):
    text, null_text = np.ones((2, 3, 5)), np.zeros((3, 5))
    path = self._save(text=text, null_text=null_text)
    rows, null = text_features.read(path, with_null=True)
    np.testing.assert_array_equal(rows, text)
    np.testing.assert_array_equal(null, null_text)
    self.assertIsNone(text_features.read(path, with_null=False)[1])

  def test_missing_arrays_are_named(self):
    with self.assertRaisesRegex(ValueError, "holds image; expected `text` and"):
      text_features.read(self._save(image=np.ones(3)), with_null=False)
    with self.assertRaisesRegex(ValueError, "holds text; .* `null_text`"):
      text_features.read(self._save(text=np.ones((2, 3, 5))), with_null=True)

  def test_empty_and_damaged_files_are_refused(self):
    for text in (np.ones((0, 3, 5)), np.float32(1)):
      with self.assertRaisesRegex(ValueError, "at least one row"):
        text_features.read(self._save(text=text), with_null=False)
    path = self._save(text=np.ones((2, 3, 5)))
    path.write_bytes(path.read_bytes()[:100])
    for name in (path, self.directory / "none.npz"):
      with self.assertRaisesRegex(ValueError, "the text features in .* cannot be read"):
        text_features.read(name, with_null=False)


if __name__ == "__main__":
  absltest.main()
