"""What is missing is made, what is done is not, and what was interrupted goes on."""

import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from unittest import mock

import pytest
from absl.testing import absltest

from ntm.ablations import recipes, rows, running
from tests.helpers import ablation_rows, processes

_DIVERGED = "error: the loss or its gradient was not finite at step 7."


class RunningTest(absltest.TestCase):

  def setUp(self):
    super().setUp()
    self.results = pathlib.Path(tempfile.mkdtemp())
    self.called = []
    self.enter_context(mock.patch.object(running, "_call", self._call))
    self.fitted = self.enter_context(mock.patch.object(running, "_fit_classifier"))
    self.fails = lambda command: None

  def _call(self, command, log):
    self.called.append(command[1:3] if command[1] != "evaluate" else command[1:2])
    if error := self.fails(command):
      log.open("a").write(f"{error}\n")
      raise error if isinstance(error, BaseException) else running._Failed(error)
    return ablation_rows.call(command, log)

  def _run(self, *names, seeds=(0,), quick=False):
    self.called.clear()
    return running.run(recipes.chosen(list(names), list(seeds), quick), self.results)

  def _kinds(self):
    return [command[0] for command in self.called]

  def _rows(self):
    return rows.valid(rows.read(self.results))

  def test_every_way_to_sample_gives_a_row_of_one_training(self):
    self.assertEqual(self._run("base"), [])
    ways = len(recipes.EXPERIMENTS["base"].samplers)
    self.assertEqual(sorted(self._kinds()), ["distill", *["evaluate"] * ways, "train"])
    self.assertLen(self._rows(), ways)
    row = self._rows()["base", 0, "denoiser"]
    self.assertEqual([command.split()[1] for command in row["commands"]],
                     ["train", "distill", "evaluate"])
    self.assertEqual(row["workdir"], f"{self.results}/base-0")
    self.assertEqual(row["date"], "2026-11-28T00:00:00+00:00")
    self.assertEqual(row["frechet_distance"], 1.5)
    self.assertLen(row["config_sha256"], 64)
    self.assertEqual(self.fitted.call_count, ways)

  def test_what_is_done_is_not_done_again(self):
    self._run("grid", seeds=(0, 1))
    before = (self.results / "results.jsonl").read_text()
    self.assertEqual(self._run("grid", seeds=(0, 1)), [])
    self.assertEmpty(self.called)
    self.assertEqual((self.results / "results.jsonl").read_text(), before)
    self._run("grid", seeds=(0, 2))
    self.assertEqual(self._kinds(), ["train", "evaluate"])

  def test_after_a_kill_only_the_rest_is_done(self):
    self.fails = lambda command: KeyboardInterrupt() if "--refine=raw" in command or (
        "--refine=none" in command) else None
    with self.assertRaises(KeyboardInterrupt):
      self._run("digits")
    self.fails = lambda command: None
    self._run("digits")
    self.assertEqual(self._kinds(), ["evaluate"])
    self.assertLen(self._rows(), 2)

  def test_a_sigterm_ends_it_with_the_code_of_a_sigterm(self):
    before = signal.getsignal(signal.SIGTERM)
    self.fails = lambda command: os.kill(os.getpid(), signal.SIGTERM)
    with self.assertRaises(SystemExit) as ended:
      self._run("grid")
    self.assertEqual(ended.exception.code, 143)
    self.assertEqual(signal.getsignal(signal.SIGTERM), before)
    self.assertEqual(self._kinds(), ["train"])

  def test_a_failure_does_not_stop_the_others_and_is_tried_again(self):
    self.fails = lambda command: "no space left" if "grid-" in command[3] else None
    failed = self._run("grid", "grid_affine", seeds=(0, 1))
    self.assertLen(failed, 2)
    self.assertIn("no space left", failed[0])
    self.assertLen(self._rows(), 2)
    self.fails = lambda command: None
    self.assertEqual(self._run("grid", "grid_affine", seeds=(0, 1)), [])
    self.assertEqual(self._kinds(), ["train", "evaluate"] * 2)

  def test_what_starts_from_a_failed_run_is_left_out(self):
    self.fails = lambda command: "killed" if "flow_matching-0" in command[3] else None
    failed = self._run("aligned", seeds=(0, 1))
    self.assertEqual(failed, ["flow_matching-0: killed"])
    self.assertFalse((self.results / "aligned-0").exists())
    self.assertEqual({key[:2] for key in self._rows()}, {("flow_matching", 1), ("aligned", 1)})

  def test_a_diverged_training_is_a_result(self):
    self.fails = lambda command: _DIVERGED if "unaligned-0" in command[3] else None
    self.assertEqual(self._run("unaligned"), [])
    row = self._rows()["unaligned", 0, "refined"]
    self.assertEqual(row["diverged_at_step"], 7)
    self.assertNotIn("frechet_distance", row)
    self._run("unaligned")
    self.assertEmpty(self.called)

  def test_a_diverged_training_is_not_repeated_for_its_other_rows(self):
    self.fails = lambda command: _DIVERGED
    self._run("digits")
    self.assertEqual(self._kinds(), ["train"])
    self.assertEqual({row["diverged_at_step"] for row in self._rows().values()}, {7})

  def test_other_commands_make_the_row_anew_from_the_same_run(self):
    self._run("grid")
    with mock.patch.object(recipes, "NUM_SAMPLES", 7):
      self._run("grid")
      self.assertEqual(self._kinds(), ["evaluate"])
      self._run("grid")
      self.assertEmpty(self.called)

  def test_a_run_of_another_config_is_in_the_way(self):
    self._run("grid", quick=True)
    with self.assertRaisesRegex(ValueError, "grid-0 holds a run with another config; choose"):
      self._run("grid")
    self.assertEmpty(self.called)

  def test_the_time_left_is_that_of_the_commands_left(self):
    wanted = recipes.chosen(["base"], [0, 1], False)
    clock = running._Clock([])
    self.assertEqual(clock.left(wanted, self.results),
                     "the time of distill and evaluate and train is not known yet")
    clock.add({"train": 100.0, "evaluate": 10.0})
    clock.add({"train": 200.0, "distill": 50.0})
    ways = len(recipes.EXPERIMENTS["base"].samplers)
    total = lambda trainings: trainings * 200 + 2 * ways * 10
    self.assertIn(f"{total(2) // 60}:{total(2) % 60:02d} left", clock.left(wanted, self.results))
    ablation_rows.call(recipes.filled(wanted[0].train(), self.results), self.results / "log")
    minutes, seconds = divmod(total(2) - 150, 60)
    self.assertIn(f"{minutes}:{seconds:02d} left", clock.left(wanted, self.results))


class CallTest(absltest.TestCase):

  def test_an_error_is_the_last_line_of_the_log(self):
    log = pathlib.Path(tempfile.mkdtemp()) / "log"

    def fail(command, stdout, stderr):
      del command, stderr
      stdout.write("error: b\n\n")
      stdout.flush()
      return mock.Mock(returncode=1)

    with (mock.patch.object(subprocess, "Popen", fail),
          self.assertRaisesRegex(running._Failed, "`ntm train` ended with code 1: error: b All")):
      running._call(["ntm", "train"], log)
    self.assertStartsWith(log.read_text(), "ntm train\n")

  def _interrupted(self, error, program):
    """(folder, exit code) of a program whose caller meets this error."""
    folder = pathlib.Path(tempfile.mkdtemp())
    process = subprocess.Popen([sys.executable, "-c", program], cwd=folder,
                               stdout=subprocess.PIPE)
    process.stdout.readline()  # It has begun.
    with (process.stdout, mock.patch.object(subprocess, "Popen", return_value=process),
          mock.patch.object(time, "sleep", side_effect=itertools.chain(
              [error], itertools.repeat(None))), self.assertRaises(error)):
      running._call(["ntm", "train"], folder / "log")
    return folder, process.returncode

  def test_after_ctrl_c_it_waits_until_the_run_is_saved(self):
    folder, code = self._interrupted(
        KeyboardInterrupt, "import time; print(flush=True); time.sleep(1); open('saved', 'w')")
    self.assertTrue((folder / "saved").exists())
    self.assertEqual(code, 0)

  def test_after_another_end_the_run_is_ended(self):
    _, code = self._interrupted(SystemExit, "import time; print(flush=True); time.sleep(600)")
    self.assertEqual(code, -signal.SIGTERM)


@pytest.mark.slow
class RealRunTest(absltest.TestCase):

  def test_the_smallest_experiment_runs_and_a_second_time_does_nothing(self):
    results = pathlib.Path(tempfile.mkdtemp()) / "new" / "results"
    flags = ["table", "--reduced", "--quick", "--only=grid_no_transporter", "--seeds=0",
             f"--results_dir={results}"]
    first = processes.ntm(*flags)
    self.assertIn("1 rows left", first.stderr)
    (row,) = rows.valid(rows.read(results), quick=True).values()
    self.assertGreater(row["kl_to_truth_nats"], 1)
    self.assertIn(f"{row['kl_to_truth_nats']:.3f} (1 seed)", first.stdout)
    modified = {path: path.stat().st_mtime_ns for path in results.rglob("*")}
    again = processes.ntm(*flags)
    self.assertIn("1 of 1 rows are in", again.stderr)
    self.assertEqual(again.stdout, first.stdout)
    self.assertEqual({path: path.stat().st_mtime_ns for path in results.rglob("*")}, modified)
    cells = json.loads(processes.ntm(*flags, "--format=json").stdout)["mixture"]["lines"]
    cell = cells["Gaussian steps: no transporter"]["kl_to_truth_nats"]
    self.assertEqual((cell["mean"], cell["workdir"]), (
        row["kl_to_truth_nats"], [f"{results}/grid_no_transporter-0"]))


if __name__ == "__main__":
  absltest.main()
