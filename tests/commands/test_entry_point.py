import contextlib
import io
import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from unittest import mock

from absl.testing import absltest, parameterized

from ntm import config as config_lib
from ntm.commands import entry_point
from ntm.training import loop

_FAILED_SAVE = """
import threading, time
from ntm.commands import entry_point
from ntm.training import storage

def main(args):
  threading.Thread(target=time.sleep, args=(300,)).start()
  raise storage.StorageError("the disk is full")

entry_point.run(main, ["program"])
"""


_WAITING = """
import time
from ntm.commands import entry_point

def main(args):
  while True:
    try:
      print("waiting", flush=True)
      time.sleep(300)
    except KeyboardInterrupt:
      if {stubborn}:
        print("still waiting", flush=True)
      else:
        raise

entry_point.run(main, ["program"])
"""


def _interrupted(stubborn):
  """The exit code and stderr of a program after as many Ctrl-C as it needs."""
  process = subprocess.Popen([sys.executable, "-c", _WAITING.format(stubborn=stubborn)],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
  for _ in range(1 + stubborn):
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
  stderr = process.communicate(timeout=120)[1]
  return process.returncode, stderr


class ProgramTest(parameterized.TestCase):

  def test_ctrl_c_ends_with_one_line(self):
    self.assertEqual(_interrupted(stubborn=False), (130, "interrupted; nothing more is written.\n"))

  def test_the_second_ctrl_c_ends_what_ignores_the_first(self):
    self.assertEqual(_interrupted(stubborn=True), (-signal.SIGINT, ""))

  @parameterized.parameters(
      (ValueError("the width is 3"), ["error: the width is 3"]),
      (FileNotFoundError("no such run"), ["error: no such run"]),
      (PermissionError("not yours"), ["error: not yours"]),
      (loop.NonFiniteError("NaN at step 3"), ["error: NaN at step 3"]),
      (ValueError("a\nb\nc\nd\ne"), ["error: a", "b", "  and 3 more"]),
      (type("OpError", (Exception,), {"__module__": "tensorflow"})("no token"),
       ["error: OpError: no token; check the path of the bucket, the network and its "
        "credentials."]),
      (MemoryError("7 TiB"),
       ["error: not enough memory (7 TiB); ask for fewer images or draws."]))
  def test_all_errors_are_a_few_lines(self, error, lines):
    main, stderr = mock.Mock(side_effect=error), io.StringIO()
    with self.assertRaises(SystemExit) as ended, contextlib.redirect_stderr(stderr):
      entry_point.run(main, ["program"])
    main.assert_called_once_with(["program"])
    self.assertEqual(ended.exception.code, 1)
    self.assertEqual(stderr.getvalue().splitlines(), lines)

  def test_after_a_failed_save_no_thread_is_waited_for(self):
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", _FAILED_SAVE], capture_output=True, text=True)
    self.assertLess(time.monotonic() - started, 200)
    self.assertEqual(done.returncode, 1)
    self.assertEqual(done.stderr, "error: the disk is full\n")


class DirectoryTest(parameterized.TestCase):

  def test_a_directory_is_checked_and_not_made(self):
    root = pathlib.Path(tempfile.mkdtemp())
    (root / "file").touch()
    entry_point.check_directory("samples_dir", str(root))
    entry_point.check_directory("samples_dir", str(root / "new" / "one"))
    self.assertEqual(list(root.iterdir()), [root / "file"])
    for path, message in ((root / "file", "file, which cannot be written .Not a directory"),
                          (root / "file" / "new", "new, which cannot be written .Not a directory"),
                          ("gs://bucket/new", "not on this machine; expected a local path in --")):
      with self.assertRaisesRegex(ValueError, message):
        entry_point.check_directory("samples_dir", str(path))

  def test_missing_directories_of_results_are_made_with_them(self):
    path = pathlib.Path(tempfile.mkdtemp()) / "missing" / "dir" / "result.json"
    entry_point.check_output("json", str(path))
    self.assertFalse(path.parent.parent.exists())
    entry_point.write_json(str(path), {"nll": 1})
    self.assertEqual(json.loads(path.read_text()), {"nll": 1})


class ProvenanceTest(absltest.TestCase):

  def test_says_which_config_and_command(self):
    with mock.patch.object(sys, "argv", ["/usr/bin/ntm", "evaluate", "--workdir=a b"]):
      found = entry_point.provenance("a b", config_lib.from_dict({}))
    self.assertEqual(found["workdir"], "a b")
    self.assertEqual(found["command"], "ntm evaluate '--workdir=a b'")
    same, other = (entry_point.provenance("c", config_lib.from_dict({"train": {"seed": seed}}))
                   for seed in (0, 1))
    self.assertEqual(found["config_sha256"], same["config_sha256"])
    self.assertNotEqual(found["config_sha256"], other["config_sha256"])


if __name__ == "__main__":
  absltest.main()
