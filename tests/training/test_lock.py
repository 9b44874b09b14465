import fcntl
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
from unittest import mock

from absl.testing import absltest

from ntm.training import lock
from tests.helpers import runs

_OTHER = """import fcntl, os, sys, time
fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)
print("locked", flush=True)
time.sleep(600)
"""


class LockTest(absltest.TestCase):

  def setUp(self):
    super().setUp()
    self.place = pathlib.Path(tempfile.mkdtemp())
    self.workdir = self.place / "run"

  def test_a_second_run_is_refused_until_the_first_ends(self):
    with lock.held(self.workdir):
      for again in (lambda: lock.check(self.workdir), lock.held(self.workdir).__enter__):
        with self.assertRaisesRegex(ValueError, "run is in use: another process trains there. "
                                    "Wait until it ends"):
          again()
      with lock.held(self.place / "other"):
        pass
    lock.check(self.workdir)
    with self.assertRaises(KeyError), lock.held(self.workdir):
      raise KeyError
    lock.check(self.workdir)

  def test_nothing_is_written(self):
    lock.check(self.workdir)
    self.assertFalse(self.workdir.exists())
    with lock.held(self.workdir):
      pass
    self.assertEmpty(list(self.workdir.iterdir()))

  def test_a_process_that_is_killed_holds_nothing(self):
    self.workdir.mkdir()
    with subprocess.Popen([sys.executable, "-c", _OTHER, str(self.workdir)],
                          stdout=subprocess.PIPE) as other:
      other.stdout.readline()
      try:
        with self.assertRaisesRegex(ValueError, "is in use"):
          lock.check(self.workdir)
      finally:
        other.send_signal(signal.SIGKILL)
    lock.check(self.workdir)

  def test_a_file_system_without_locks_keeps_nobody_out(self):
    with mock.patch.object(fcntl, "flock", side_effect=OSError(95, "not supported")):
      with lock.held(self.workdir), lock.held(self.workdir):
        pass

  def test_files_are_not_left_open(self):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
      with lock.held(self.workdir):
        lock.check(self.place)
    self.assertLen(os.listdir("/proc/self/fd"), before)

  def test_a_second_training_is_refused_and_changes_nothing(self):
    self.workdir.mkdir()
    for command in (["train", "--config=configs/digits.py"],
                    ["distill", "--config=configs/digits_denoiser.py", f"--teacher={self.place}"]):
      with lock.held(self.workdir):
        code, stderr = runs.call(*command, f"--workdir={self.workdir}")
      self.assertEqual(code, 1)
      self.assertRegex(stderr, "(?m)^error: workdir .*/run is in use: another process trains there")
      self.assertEmpty(list(self.workdir.iterdir()))


if __name__ == "__main__":
  absltest.main()
