"""Several processes, started by launch/local.py, train as one does."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

import jax
import numpy as np
import pytest
from absl.testing import absltest

from ntm.training import metrics
from tests.helpers import digits_run

_ROOT = pathlib.Path(__file__).parents[2]
_DEVICES = jax.devices()
# The loss is a sum of float32, added up in another order by another number of devices or
# processes: some units in the last place (1.2e-7), which the updates of a few steps carry on.
_RTOL = 1e-5

# A run to step 3 in which the storage of process 1 fails to do one thing.
_FAILING = """
import os, sys
from unittest import mock
import orbax.checkpoint as ocp
from ntm.commands import entry_point
from ntm.training import multihost
from tests.helpers import digits_run

multihost._BARRIER_SECONDS = 5
if os.environ["JAX_PROCESS_ID"] == "1":
  error = OSError(5, "Input/output error")
  mock.patch.object(ocp.CheckpointManager, sys.argv[2], side_effect=error).start()
entry_point.run(lambda _: digits_run.train(sys.argv[1], 3), sys.argv[:1], several_processes=True)
"""


# A run whose data are there for process 0 alone.
_REFUSING = """
import os, sys
from unittest import mock
from ntm.commands import entry_point
from ntm.data import pipeline
from tests.helpers import digits_run

if os.environ["JAX_PROCESS_ID"] == "1":
  mock.patch.object(pipeline, "training_data", side_effect=ValueError("no data here")).start()
entry_point.run(lambda _: digits_run.train(sys.argv[1], 3), sys.argv[:1], several_processes=True)
"""


# A run on a mesh on which neighbours are in two processes, as on the torus of a pod.
_TORUS = """
import dataclasses, sys
from unittest import mock
import numpy as np
from ntm.commands import entry_point
from ntm.config import MeshConfig
from ntm.nn import partitioning
from tests.helpers import digits_run

arrange = lambda devices, sizes: np.asarray(devices)[[0, 4, 1, 5, 2, 6, 3, 7]].reshape(sizes)
mock.patch.object(partitioning, "_arranged", arrange).start()
config, tensor = digits_run.config, int(sys.argv[2])
mock.patch.object(digits_run, "config", lambda steps: dataclasses.replace(
    config(steps), mesh=MeshConfig(-1, 1, tensor))).start()
entry_point.run(lambda _: digits_run.train(sys.argv[1], 3), sys.argv[:1], several_processes=True)
"""


def _launch(*command, processes=2):
  """On eight devices in all."""
  env = os.environ | {"XLA_FLAGS": re.sub(r"--xla_force_host\S*", "", os.environ["XLA_FLAGS"])}
  return subprocess.Popen(
      [sys.executable, _ROOT / "launch" / "local.py", f"--processes={processes}",
       f"--devices-per-process={8 // processes}", "--", *command],
      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, cwd=_ROOT)


def _train(workdir, steps):
  return _launch(sys.executable, "-m", "tests.helpers.digits_run", workdir, str(steps))


def _scalars(workdir, name):
  """The scalar of that name by step."""
  return {line["step"]: line[name] for line in metrics.read(workdir) if name in line}


def _saved(workdir):
  return sorted(int(path.name) for path in pathlib.Path(workdir, "checkpoints").iterdir())


class SameRunTest(absltest.TestCase):

  def _train(self, workdir, steps, devices):
    """In this process, on some of its devices."""
    with absltest.mock.patch.object(jax, "devices", lambda: _DEVICES[:devices]):
      digits_run.train(workdir, steps)

  def _assert_same(self, ours, theirs, steps):
    for prefix in ("train", "held_out"):
      ours_of, theirs_of = (
          _scalars(workdir, f"{prefix}/nats_per_dim") for workdir in (ours, theirs))
      common = [step for step in theirs_of if step in steps]
      assert common or prefix == "held_out"
      np.testing.assert_allclose([ours_of[step] for step in common],
                                 [theirs_of[step] for step in common], rtol=_RTOL)

  def _two_and(self, whole):
    """The workdir of two processes that trained 3 of the 5 steps in `whole`."""
    workdir = tempfile.mkdtemp()
    launched = _train(workdir, 3)
    whole()
    output = launched.communicate(timeout=600)[0]
    self.assertEqual(launched.returncode, 0, output)
    self.assertEqual(_saved(workdir), [3])
    self.assertEqual(output.count("step 2 of 3"), 1)  # Only the first process says so.
    return workdir

  @pytest.mark.slow
  def test_two_processes_train_as_one(self):
    one = tempfile.mkdtemp()
    two = self._two_and(lambda: self._train(one, 3, devices=1))
    self._assert_same(two, one, (1, 2, 3))

  @pytest.mark.slow
  def test_on_meshes_that_interleave_processes_or_split_heads_over_them(self):
    one = tempfile.mkdtemp()
    self._train(one, 3, devices=1)
    for tensor in (1, 2):
      workdir = tempfile.mkdtemp()
      launched = _launch(sys.executable, "-c", _TORUS, workdir, str(tensor))
      output = launched.communicate(timeout=600)[0]
      self.assertEqual(launched.returncode, 0, output)
      self._assert_same(workdir, one, (1, 2, 3))

  def test_processes_with_different_configs_are_refused(self):
    workdir = tempfile.mkdtemp()
    program = ("import jax; from ntm.commands import entry_point; "
               "from tests.helpers import digits_run; "
               f"entry_point.run(lambda _: digits_run.train({workdir!r}, "
               "3 + jax.process_index()), ['program'], several_processes=True)")
    launched = _launch(sys.executable, "-c", program)
    output = launched.communicate(timeout=600)[0]
    self.assertEqual(launched.returncode, 1, output)
    self.assertIn("on process 1 train.steps is 4, on process 0 it is 3.", output)
    self.assertEmpty(os.listdir(workdir))

  @pytest.mark.slow
  def test_on_as_many_devices_and_resumed_by_one_process(self):
    one = tempfile.mkdtemp()
    two = self._two_and(lambda: self._train(one, 5, devices=8))
    self._assert_same(two, one, (1, 2, 3))
    # The curve is that of the same examples in the same order: a resumed run reads on rightly.
    for devices in (1, 4):
      with self.subTest(devices=devices):
        workdir = os.path.join(tempfile.mkdtemp(), "run")
        shutil.copytree(two, workdir)
        self._train(workdir, 5, devices)
        self._assert_same(workdir, one, (1, 2, 3, 4, 5))


class RefusalTest(absltest.TestCase):

  @pytest.mark.slow
  def test_what_one_process_refuses_none_writes(self):
    workdir = tempfile.mkdtemp()
    launched = _launch(sys.executable, "-c", _REFUSING, workdir)
    output = launched.communicate(timeout=600)[0]
    self.assertEqual(launched.returncode, 1, output)
    self.assertIn("error: no data here", output)
    self.assertEmpty(os.listdir(workdir))


class FrozenTest(absltest.TestCase):

  @pytest.mark.slow
  def test_two_processes_finetune_and_distil_as_one(self):
    root = tempfile.mkdtemp()
    nets = ["--config.train.batch_size=64", "--config.mesh.fsdp=2"] + [
        f"--config.{net}={value}" for net, value in (
            ("optimizer.warmup_steps", 0), ("train.steps", 2), ("train.log_every", 1),
            ("model.predictor.width", 16), ("model.predictor.layers", 1), ("model.unroll", 1))]
    transporter = [f"--config.model.transporter.{net}" for net in ("width=16", "layers=1")]
    denoiser = ["--config.denoiser.width=16", "--config.denoiser.layers=1"]

    def run(command, config, *flags, processes=2):
      launched = _launch(sys.executable, "-m", "ntm.commands.main", command,
                         f"--config=configs/{config}.py", *nets, *flags, processes=processes)
      output = launched.communicate(timeout=600)[0]
      self.assertEqual(launched.returncode, 0, output)

    run("train", "digits_fm", f"--workdir={root}/source")
    for name, processes in (("one", 1), ("two", 2)):
      run("train", "digits_finetune", f"--workdir={root}/{name}", *transporter,
          f"--config.finetune.source={root}/source", processes=processes)
      run("distill", "digits_denoiser", f"--teacher={root}/one", *denoiser,
          f"--workdir={root}/denoiser_{name}", processes=processes)
    for one, two, primary_metric in ((f"{root}/one", f"{root}/two", "nats_per_dim"),
                               (f"{root}/denoiser_one", f"{root}/denoiser_two", "mse")):
      for name in (f"train/{primary_metric}", f"held_out/{primary_metric}"):
        losses = _scalars(one, name)
        self.assertNotEmpty(losses)
        self.assertEqual(losses.keys(), _scalars(two, name).keys())
        np.testing.assert_allclose(list(_scalars(two, name).values()), list(losses.values()),
                                   rtol=_RTOL)


def _wait_for(process, pattern):
  seen = ""
  for line in process.stdout:
    seen += line
    if found := re.search(pattern, line):
      return found
  raise AssertionError(f"the job ended without {pattern!r}:\n{seen}")


def _process(launched, index):
  """Process id of one of the processes that were launched."""
  for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
    try:
      parent = int(path.with_name("stat").read_text().rsplit(")", 1)[1].split()[1])
      if parent == launched.pid and f"JAX_PROCESS_ID={index}\0" in path.read_text():
        return int(path.parent.name)
    except (OSError, ValueError):
      continue
  raise AssertionError(f"there is no process {index}")


@pytest.mark.slow
class FaultsTest(absltest.TestCase):

  def test_a_signal_or_a_crash_of_one_process_stops_all_and_the_relaunch_resumes(self):
    workdir, steps = tempfile.mkdtemp(), 10**6
    launched = _train(workdir, steps)
    _wait_for(launched, "step 5 of")
    os.kill(_process(launched, 1), signal.SIGTERM)
    step = int(_wait_for(launched, r"SIGTERM: saved step (\d+)")[1])
    output = launched.communicate(timeout=600)[0]
    self.assertEqual(launched.returncode, 143, output)
    self.assertEqual(_saved(workdir)[-1], step)

    launched = _train(workdir, steps)
    _wait_for(launched, f"resuming at step {step}")
    _wait_for(launched, f"step {step + 6} of")
    os.kill(_process(launched, 1), signal.SIGKILL)
    output = launched.communicate(timeout=600)[0]
    self.assertEqual(launched.returncode, 137, output)
    self.assertIn("process 1 (of 0 to 1) was killed by SIGKILL", output)

    last = _saved(workdir)[-1]
    launched = _train(workdir, steps)
    _wait_for(launched, f"resuming at step {last}")
    launched.send_signal(signal.SIGTERM)  # Before the first step, which comes all the same.
    _wait_for(launched, f"SIGTERM: saved step {last + 1}")
    launched.communicate(timeout=600)
    self.assertEqual(launched.returncode, 143)

    launched = _train(workdir, steps)
    _wait_for(launched, f"step {last + 3} of")
    launched.send_signal(signal.SIGINT)  # As Ctrl-C: the launcher passes it to all.
    _wait_for(launched, "SIGTERM: saved step")
    launched.communicate(timeout=600)
    self.assertEqual(launched.returncode, 143)

  def test_storage_that_fails_for_one_process_is_named_and_stops_all(self):
    workdir = tempfile.mkdtemp()

    def check(action, message):
      launched = _launch(sys.executable, "-c", _FAILING, workdir, action)
      output = launched.communicate(timeout=600)[0]
      self.assertEqual(launched.returncode, 1, output)
      self.assertRegex(output, "error: process 1 alone cannot "
                       rf"{message} in .* \(OSError: .*Input/output error\)")

    check("save", "write checkpoint 3")
    self.assertEmpty(_saved(workdir))
    launched = _train(workdir, 2)
    self.assertEqual(launched.wait(timeout=600), 0, launched.communicate()[0])
    check("restore", "read checkpoint 2")
    self.assertEqual(_saved(workdir), [2])

  def test_a_damaged_checkpoint_is_passed_over_by_all(self):
    workdir = tempfile.mkdtemp()
    for steps in (2, 4):
      launched = _train(workdir, steps)
      self.assertEqual(launched.wait(timeout=600), 0, launched.communicate()[0])
    for path in pathlib.Path(workdir, "checkpoints", "4", "params").rglob("*"):
      if path.is_file():
        path.write_bytes(path.read_bytes()[:10])
    launched = _train(workdir, 5)
    output = launched.communicate(timeout=600)[0]
    self.assertEqual(launched.returncode, 0, output)
    self.assertIn("resuming at step 2", output)

  def test_numbers_that_were_not_written_are_passed_over_by_all(self):
    """Nothing that Orbax would see, and each process holds a part of it."""
    workdir = tempfile.mkdtemp()
    for steps in (2, 4):
      launched = _train(workdir, steps)
      self.assertEqual(launched.wait(timeout=600), 0, launched.communicate()[0])
    older, newer = (pathlib.Path(workdir, "checkpoints", step, "params") for step in "24")
    shutil.rmtree(newer)
    shutil.copytree(older, newer)
    launched = _train(workdir, 5)
    output = launched.communicate(timeout=600)[0]
    self.assertEqual(launched.returncode, 0, output)
    self.assertRegex(output, r"checkpoint 4 cannot be read \(params/.* differ")
    self.assertIn("resuming at step 2", output)


if __name__ == "__main__":
  absltest.main()
