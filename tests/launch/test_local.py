"""launch/local.py with commands that need no JAX."""

import pathlib
import signal
import subprocess
import sys
import tempfile

from absl.testing import absltest

_LAUNCH = pathlib.Path(__file__).parents[2] / "launch"
# launch/local.py, with less patience for processes that do not end.
_LOCAL = f"import sys; sys.path.insert(0, {str(_LAUNCH)!r}); import local; local._GRACE = 0.5; " \
    "sys.exit(local.main())"


def _start(script, *flags):
  return subprocess.Popen(
      [sys.executable, "-c", _LOCAL, "--processes=2", *flags, "--", "bash", "-c", script],
      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _run(script, *flags):
  process = _start(script, *flags)
  return *process.communicate(timeout=60), process.returncode


class LocalTest(absltest.TestCase):

  def test_shows_the_output_of_process_0_as_it_is(self):
    out, error, code = _run(
        "echo $JAX_PROCESS_ID of $JAX_NUM_PROCESSES: ${XLA_FLAGS##* }", "--devices-per-process=4")
    self.assertEqual((out, error, code),
                     ("0 of 2: --xla_force_host_platform_device_count=4\n", "", 0))

  def test_one_that_fails_stops_the_others_and_is_shown(self):
    out, error, code = _run("[ $JAX_PROCESS_ID = 0 ] && exec sleep 1000; echo why; exit 3")
    self.assertEqual((out, error, code),
                     ("", "why\nlaunch/local.py: process 1 (of 0 to 1) ended with code 3.\n", 3))

  def test_what_all_write_is_shown_once(self):
    # Process 1 fails first, with the lines of process 0 and one of its own.
    out, error, code = _run("echo refused; [ $JAX_PROCESS_ID = 0 ] && sleep 0.2 || echo alone; "
                            "exit 1")
    self.assertEqual((out, error, code),
                     ("refused\n", "alone\nlaunch/local.py: process 1 (of 0 to 1) ended with "
                      "code 1.\n", 1))

  def test_one_that_is_killed_is_named(self):
    _, error, code = _run("[ $JAX_PROCESS_ID = 1 ] && exec sleep 1000; kill -KILL $$")
    self.assertEqual(error, "launch/local.py: process 0 (of 0 to 1) was killed by SIGKILL.\n")
    self.assertEqual(code, 137)

  def test_what_cannot_be_started_is_refused_in_one_line(self):
    for flags, message in (
        (["--processes=0", "--", "true"], "--processes is 0; expected 1 or more"),
        (["--processes=2", "--devices-per-process=0", "--", "true"],
         "--devices-per-process is 0; expected 1 or more"),
        (["--processes=2", "--", "no-such-command"],
         "the command 'no-such-command' is not found; is the environment that has it active?")):
      done = subprocess.run([sys.executable, _LAUNCH / "local.py", *flags], capture_output=True,
                            text=True)
      self.assertEqual(done.returncode, 2)
      self.assertEqual(done.stderr.splitlines()[-1], f"local.py: error: {message}")

  def test_passes_signals_on(self):
    for signum in (signal.SIGTERM, signal.SIGINT):
      ready = pathlib.Path(tempfile.mkdtemp()) / "1"  # Process 0 waits until 1 has its trap too.
      process = _start("trap 'kill $!; exit 143' TERM INT; sleep 1000 & "
                       f"[ $JAX_PROCESS_ID = 1 ] && touch '{ready}'; "
                       f"until [ -e '{ready}' ]; do sleep 0.01; done; echo up; wait")
      process.stdout.readline()
      process.send_signal(signum)
      _, error = process.communicate(timeout=60)
      self.assertEqual(process.returncode, 143)
      self.assertIn("ended with code 143", error)


if __name__ == "__main__":
  absltest.main()
