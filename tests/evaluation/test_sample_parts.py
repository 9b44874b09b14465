"""A part of samples is read as it was written, or not at all."""

import pathlib
import shutil
import tempfile
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from ntm.evaluation import sample_parts
from ntm.evaluation.sample_parts import SampleParts

_FINITE = np.array([True, False, True, True])
_IMAGES = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 1), np.uint8)


class SamplePartsTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.root = pathlib.Path(tempfile.mkdtemp())
    self.path = self.root / "a" / "part-000002.npz"

  def _parts(self, name="a", dtype=np.uint8, shape=(4, 5, 1), **settings):
    return SampleParts(self.root / name, {"seed": 0} | settings, shape, dtype)

  def _write(self, **how):
    parts = self._parts(**how)
    parts.write(2, _IMAGES, _FINITE)
    return parts

  def _assert_unused(self, parts, message, number=2, count=4):
    with self.assertLogs("ntm", "WARNING") as logs:
      self.assertIsNone(parts.read(number, count))
    self.assertRegex(logs.output[0], f"cannot be used .*{message}.*drawn again")

  def test_a_part_is_as_it_was_written(self):
    self._write()
    parts = self._parts()  # Of another run.
    images, finite = parts.read(2, 4)
    np.testing.assert_array_equal(images, _IMAGES)
    np.testing.assert_array_equal(finite, _FINITE)
    self.assertEqual((images.dtype, finite.dtype), (np.uint8, bool))
    self.assertIsNone(parts.read(0, 4))
    self.assertEqual({path.name for path in (self.root / "a").iterdir()},
                     {"settings.json", "part-000002.npz"})

  def test_a_part_that_is_cut_off_anywhere_is_not_used(self):
    parts = self._write()
    whole = self.path.read_bytes()
    for size in range(0, len(whole), 97):
      self.path.write_bytes(whole[:size])
      self._assert_unused(parts, "")

  def test_a_part_of_which_any_byte_changed_is_not_used_or_is_the_same(self):
    parts = self._write()
    whole = self.path.read_bytes()
    for i in range(0, len(whole), 13):
      self.path.write_bytes(whole[:i] + bytes([whole[i] ^ 0x41]) + whole[i + 1:])
      with mock.patch.object(sample_parts, "_LOG"):
        found = parts.read(2, 4)
      if found is not None:  # A date in the archive, say.
        np.testing.assert_array_equal(found[0], _IMAGES)
        np.testing.assert_array_equal(found[1], _FINITE)

  def test_foreign_files_are_not_used(self):
    parts = self._write()
    self._write(name="b", seed=1)
    for number, source in ((0, "b/part-000002.npz"), (1, "a/part-000002.npz")):
      shutil.copy(self.root / source, self.root / "a" / f"part-00000{number}.npz")
      self._assert_unused(parts, "it is a part of other samples", number)
    self._assert_unused(parts, "it has uint8 samples of shape", count=5)
    self._assert_unused(self._parts(dtype=np.float32), "it has uint8 samples")
    self._assert_unused(self._parts(shape=(5, 4, 1)), "it has uint8 samples")
    for save in (lambda path: np.savez(path, arr_0=_IMAGES), lambda path: path.write_text("png"),
                 lambda path: path.write_bytes(b"")):
      save(self.path)
      self._assert_unused(parts, "")
    parts.write(2, _IMAGES, _FINITE)
    np.testing.assert_array_equal(parts.read(2, 4)[0], _IMAGES)

  def test_a_write_that_is_killed_leaves_no_part(self):
    parts = self._parts()
    with (mock.patch.object(sample_parts.os, "fsync", side_effect=KeyboardInterrupt),
          self.assertRaises(KeyboardInterrupt)):
      parts.write(2, _IMAGES, _FINITE)
    self.assertIsNone(parts.read(2, 4))
    self.assertTrue(self.path.with_suffix(".partial").exists())
    parts.write(2, _IMAGES, _FINITE)
    self.assertIsNotNone(parts.read(2, 4))
    self.assertFalse(self.path.with_suffix(".partial").exists())

  def test_a_full_disk_is_said_before_or_at_the_part(self):
    parts = self._parts()
    usage = mock.Mock(free=20 * 10**6)
    with mock.patch.object(sample_parts.shutil, "disk_usage", return_value=usage):
      parts.check_disk(10**6)
      with self.assertRaisesRegex(ValueError, "a needs 0.04 GB, and its disk has 0.02 GB left"):
        parts.check_disk(2 * 10**6)
    error = OSError(28, "no space")
    with (mock.patch.object(sample_parts.os, "fsync", side_effect=error),
          self.assertRaisesRegex(ValueError, r"part-000002.npz cannot be written \(no space\); "
                                 "make room and run the command again")):
      parts.write(2, _IMAGES, _FINITE)
    self.assertFalse(self.path.with_suffix(".partial").exists())

  def test_another_device_is_named_once(self):
    with mock.patch.object(sample_parts.jax, "__version__", "0.0.1"):
      parts = self._write()
      parts.write(3, _IMAGES, _FINITE)
    parts = self._parts()
    with self.assertLogs("ntm", "WARNING") as logs:
      self.assertIsNotNone(parts.read(2, 4))
      self.assertIsNotNone(parts.read(3, 4))
    self.assertLen(logs.output, 1)
    self.assertRegex(logs.output[0], "drawn on .* by JAX 0.0.1, and this is .* differ by rounding")


if __name__ == "__main__":
  absltest.main()
