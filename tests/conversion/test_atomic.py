import errno
from unittest import mock

from absl.testing import absltest

from ntm.conversion import atomic, converter, streaming
from tests.helpers import toy


class AtomicTest(toy.ToyTest):

  def test_targets_that_cannot_be_made(self):
    self.save(toy.tensors())
    self.target.mkdir()
    (self.target / "mine").touch()
    (self.directory / "new.partial").mkdir()
    for target, message in (
        (self.target, "ours exists"),
        (self.source / "under" / "a_file", "a_file cannot be made"),
        ("gs://bucket/x", "gs://bucket/x is not on this machine"),
        (self.directory / "new", "new.partial exists, .* or was killed; remove it")):
      with self.assertRaisesRegex(ValueError, message):
        converter.convert(toy.FAMILY, self.source, target)
    self.assertTrue((self.target / "mine").exists())
    self.assertTrue((self.directory / "new.partial").exists())

  def test_full_disk(self):
    self.save(toy.tensors())
    usage = mock.Mock(free=100)
    with mock.patch.object(atomic.shutil, "disk_usage", return_value=usage):
      with self.assertRaisesRegex(ValueError, "needs 0.00 GB"):
        converter.convert(toy.FAMILY, self.source, self.target)
    for error in (OSError(errno.ENOSPC, "No space left on device"),
                  ValueError("writing chunk\n[OS error 28: No space left on device]\nmore")):
      with mock.patch.object(streaming, "save", side_effect=error):
        with self.assertRaisesRegex(ValueError, "^the disk of .*ours is full"):
          converter.convert(toy.FAMILY, self.source, self.target)
    self.assert_nothing_left("model.safetensors")


if __name__ == "__main__":
  absltest.main()
