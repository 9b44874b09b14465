import subprocess
import sys
import time

from absl.testing import absltest, parameterized

_PROGRAM = """
import threading, time
from ntm.commands import program
from ntm.training import checkpoint, loop

def main(args):
  threading.Thread(target=time.sleep, args=({seconds},)).start()
  raise {error}

program.run(main, ["program"])
"""


class ProgramTest(parameterized.TestCase):

  @parameterized.parameters(
      "ValueError('the width is 3')", "FileNotFoundError('no such run')",
      "PermissionError('not yours')", "loop.NonFiniteError('NaN at step 3')")
  def test_what_is_clear_is_one_line(self, error):
    done = subprocess.run([sys.executable, "-c", _PROGRAM.format(seconds=0, error=error)],
                          capture_output=True, text=True)
    self.assertEqual(done.returncode, 1)
    self.assertEqual(done.stderr, f"error: {error.split(chr(39))[1]}\n")

  def test_after_a_failed_save_no_thread_is_waited_for(self):
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", _PROGRAM.format(
        seconds=300, error="checkpoint.StorageError('the disk is full')")],
        capture_output=True, text=True)
    self.assertLess(time.monotonic() - started, 200)
    self.assertEqual(done.returncode, 1)
    self.assertEqual(done.stderr, "error: the disk is full\n")


if __name__ == "__main__":
  absltest.main()
