"""Runs of the real command in processes of their own, on a tiny model."""

import dataclasses
import functools
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import chex
import jax
import numpy as np
import pytest
from absl.testing import absltest, parameterized
from etils import epath

from ntm.data import pipeline
from ntm.losses import task
from ntm.nn import partitioning
from ntm.training import checkpoint, loop, metrics, multihost, report
from ntm.training import state as state_lib
from ntm.training import step as step_lib
from ntm.training import workdir as workdir_lib
from tests.helpers import runs, tiny
from tests.helpers.numbered import Numbers
from tests.helpers.stop import StopAfter, StopWhenTold


class _Images:
  """Random images in memory; the one at `poison` is NaN."""

  def __init__(self, count=32, poison=None):
    rng = np.random.default_rng(0)
    self._images = rng.uniform(-1, 1, (count, 4, 4, 1)).astype(np.float32)
    if poison is not None:
      self._images[poison] = np.nan

  def __len__(self):
    return len(self._images)

  def __getitem__(self, index):
    return {"image": self._images[index], "label": np.int32(index % 3)}


# Runs share their programs, which the loop makes anew for every run.
_density, _train_step, _eval_step = (
    functools.cache(make) for make in (task.density, step_lib.make_train_step,
                                       step_lib.make_eval_step))


def _computed(config):
  """The config less what says when to write, which is in no program."""
  return dataclasses.replace(config, train=dataclasses.replace(
      config.train, log_every=1, sample_every=1, checkpoint_every=1, profile_at=0))


def _task(config):
  return _density(_computed(config))


_PROGRAMS = {
    "make_train_step": lambda _, config, mesh: _train_step(_task(config), _computed(config), mesh),
    "make_eval_step": lambda _, mesh: _eval_step(_task(_config()), mesh)}


def _first(what, config, mesh):
  """A first state that is not compiled."""
  return runs.filled(state_lib.abstract_state(what, config, mesh))


def _train(config, workdir, source=None):
  source = source or _Images()
  iterator = pipeline.train_iterator(source, config.train.batch_size, 0)
  loop.train(_task, config, workdir, iterator,
             pipeline.ordered_batches(_Images(), 16, range(16)))


def _config(**changes):
  small = {"layers": 1, "width": 8, "num_heads": 2, "num_kv_heads": 2}
  return tiny.config(model__predictor=small, model__transporter=small | {"num_blocks": 1},
                     mesh={"data": 1}, **changes)


def _final(config, workdir):
  mesh = partitioning.make_mesh(config.mesh, jax.devices()[:1])
  abstract = state_lib.abstract_state(_task(config), config, mesh)
  checkpointer = checkpoint.Checkpointer(workdir, config)
  state, _ = checkpointer.restore_latest(abstract)
  checkpointer.close()
  return jax.device_get(state)


class LoopTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    # The loop takes all devices; these runs are of one.
    self.enter_context(absltest.mock.patch.object(jax, "devices", lambda: _DEVICES[:1]))
    self.enter_context(absltest.mock.patch.multiple(step_lib, **_PROGRAMS))
    self.enter_context(absltest.mock.patch.object(state_lib, "init_state", _first))
    self.workdir = tempfile.mkdtemp()

  def test_a_resumed_run_equals_the_uninterrupted_one(self):
    config = _config()
    _train(config, self.workdir)
    other = tempfile.mkdtemp()
    with absltest.mock.patch.object(multihost, "Preemption", StopAfter(4)):
      with self.assertRaises(loop.Preempted) as stopped:
        _train(config, other)
    self.assertEqual(stopped.exception.code, 143)
    self.assertEqual(int(_final(config, other).step), 4)
    _train(config, other)
    chex.assert_trees_all_equal(_final(config, self.workdir), _final(config, other))
    curve, other_curve = _losses(self.workdir), _losses(other)
    self.assertLen(curve, 3)
    self.assertEqual(curve, other_curve)
    # What is done is not done again, and asking for less is a mistake.
    with absltest.mock.patch.object(loop.step_lib, "make_train_step", side_effect=AssertionError):
      _train(config, other)
      with self.assertRaisesRegex(ValueError, "at step 6 already, and config.train.steps is 5"):
        _train(_config(train__steps=5), other)
    self.assertEqual(_losses(other), curve)
    self.assertEqual(workdir_lib.read(other).train.steps, 6)

  def test_a_run_writes_what_people_look_at(self):
    _train(_config(train__sample_every=4, train__profile_at=2, train__profile_steps=1),
           self.workdir)
    files = {str(p.relative_to(self.workdir)) for p in pathlib.Path(self.workdir).rglob("*.png")}
    self.assertContainsSubset(
        {"curves.png", "samples/raw_0000004.png", "samples/refined_0000004.png",
         "samples/trajectory_0000006.png"}, files)
    lines = metrics.read(self.workdir)
    names = set().union(*lines)
    self.assertContainsSubset(
        {"train/nats_per_dim", "train/step_1/nats_per_dim", "held_out/nats_per_dim",
         "norm/gradient", "norm/params", "steps_per_second", "seconds_left", "learning_rate",
         "step_seconds", "tokens_per_second", "model_flops_per_second", "data_wait",
         "train/log_scale/predictor_min", "train/log_scale/transporter_max"}, names)
    self.assertNotEmpty(list(pathlib.Path(self.workdir).glob("events.out.tfevents*")))
    self.assertLen(list(pathlib.Path(self.workdir).glob("profile/**/*.xplane.pb")), 1)

  def test_nan_stops_with_the_last_good_state(self):
    config = _config(train__checkpoint_every=100, train__log_every=3)
    # One epoch is four batches: poison an image that first comes in the third.
    seen = pipeline.train_iterator(Numbers(32), 8, 0)
    poison = int([next(seen)["label"] for _ in range(3)][2][0])
    with self.assertRaisesRegex(loop.NonFiniteError, "not finite at step 3"):
      _train(config, self.workdir, _Images(poison=poison))
    state = _final(config, self.workdir)
    self.assertEqual(int(state.step), 2)
    for leaf in jax.tree.leaves(state):
      self.assertTrue(np.isfinite(leaf).all())
    # Resumed with sound data, the run is the one that never failed.
    _train(config, self.workdir)
    other = tempfile.mkdtemp()
    _train(config, other)
    chex.assert_trees_all_equal(_final(config, self.workdir), _final(config, other))

  @pytest.mark.slow
  def test_skipped_updates_are_counted_in_the_log_and_over_a_resume(self):
    # Every epoch of four batches meets the poisoned image once.
    config = _config(train__steps=12, train__log_every=1, train__checkpoint_every=1,
                     train__max_nonfinite_steps=2)
    with absltest.mock.patch.object(multihost, "Preemption", StopAfter(6)):
      with self.assertRaises(loop.Preempted):
        _train(config, self.workdir, _Images(poison=0))
    lines = {line["step"]: line for line in metrics.read(self.workdir) if "skipped" in line}
    self.assertNotIn("steps_per_second", lines[1])  # It was compiled; that is no rate.
    self.assertIn("steps_per_second", lines[2])
    before = lines[6]["skipped"]
    self.assertIn(before, (1, 2))  # The second epoch is half done.
    self.assertLen([line for line in lines.values() if "train/nats_per_dim" not in line], before)
    with self.assertRaisesRegex(loop.NonFiniteError, "after 2 skipped ones"):
      _train(config, self.workdir, _Images(poison=0))
    state = _final(config, self.workdir)
    self.assertEqual(int(state.skipped), 2)
    self.assertGreaterEqual(int(state.step), 8)

  def test_after_a_signal_nothing_is_drawn_or_scored(self):
    not_now = absltest.mock.Mock(side_effect=AssertionError)
    with (absltest.mock.patch.object(multihost, "Preemption", StopAfter(3)),
          absltest.mock.patch.multiple(report.Reporter, samples=not_now, held_out=not_now),
          self.assertRaises(loop.Preempted)):
      _train(_config(train__sample_every=3), self.workdir)
    self.assertEqual(int(_final(_config(), self.workdir).step), 3)
    self.assertEqual(list(_losses(self.workdir)), [2, 3])
    self.assertFalse((pathlib.Path(self.workdir) / "curves.png").exists())

  @parameterized.parameters("samples", "held_out")
  def test_a_signal_during_an_evaluation_ends_the_run_at_its_step(self, during):
    stop, score = StopWhenTold(), absltest.mock.Mock()
    real = getattr(report.Reporter, during)

    def scored(reporter, state, stopped):
      stop.told = True
      return real(reporter, state, stopped)

    def drawn(reporter, state):
      stop.told = True

    with (absltest.mock.patch.object(multihost, "Preemption", stop),
          absltest.mock.patch.object(step_lib, "make_eval_step", lambda task, mesh: score),
          absltest.mock.patch.object(report.Reporter, during,
                                     {"samples": drawn, "held_out": scored}[during]),
          self.assertRaises(loop.Preempted) as stopped):
      _train(_config(train__sample_every=3), self.workdir)
    self.assertEqual(stopped.exception.code, 143)
    score.assert_not_called()
    self.assertEqual(int(_final(_config(), self.workdir).step), 3)
    self.assertEqual(list(_losses(self.workdir)), [2, 3])  # Written, with nothing left out.

  def test_an_extension_is_a_suspect_too(self):
    text = loop.not_finite(_config(train__objective="calm:objective"), 4, 0)
    self.assertRegex(text, "at step 5. The state after step 4 .* may also be in calm:objective: ")
    self.assertNotIn("may also be", loop.not_finite(_config(), 4, 0))

  def test_an_example_that_cannot_be_read_stops_the_run(self):
    class Broken(_Images):
      def __getitem__(self, index):
        if index == 5:
          raise OSError("example 5 is gone")
        return super().__getitem__(index)

    with self.assertRaisesRegex(Exception, "example 5 is gone"):
      _train(_config(), self.workdir, Broken())
    # One epoch is four batches: whatever was trained on, was trained on once.
    self.assertLess(max([line["step"] for line in metrics.read(self.workdir)], default=0), 4)

  def test_metrics_are_written_before_the_checkpoint_they_belong_to(self):
    saved, save = [], checkpoint.Checkpointer.save

    def check(checkpointer, state, *args, **kwargs):
      saved.append((int(state.step), max(line["step"] for line in metrics.read(self.workdir))))
      return save(checkpointer, state, *args, **kwargs)

    # As in a bucket, where lines are not written one by one.
    with (absltest.mock.patch.object(checkpoint.Checkpointer, "save", check),
          absltest.mock.patch.object(metrics.workdir_lib, "is_bucket", lambda path: True),
          absltest.mock.patch.object(workdir_lib, "checkpoints",
                                     lambda path: epath.Path(path) / "checkpoints")):
      _train(_config(), self.workdir)
    self.assertEqual(saved, [(3, 3), (6, 6)])


_DEVICES = jax.devices()


def _command(workdir, *flags):
  root = pathlib.Path(__file__).parents[2]
  env = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
  return subprocess.Popen(
      [sys.executable, "-m", "ntm.commands.train", f"--config={root}/configs/digits.py",
       f"--workdir={workdir}", "--config.model.predictor.width=16",
       "--config.model.transporter.width=16", "--config.model.unroll=1",
       "--config.optimizer.warmup_steps=0", "--config.train.batch_size=8",
       "--config.train.log_every=1", "--config.train.sample_every=100000", *flags],
      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)


def _wait_for(process, text):
  for line in process.stdout:
    if text in line:
      return line
  raise AssertionError(f"the run ended without {text!r}")


def _losses(workdir):
  return {line["step"]: line["train/nats_per_dim"] for line in metrics.read(workdir)
          if "train/nats_per_dim" in line}


@pytest.mark.slow
class ProcessTest(parameterized.TestCase):

  @parameterized.parameters((signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Ctrl-C"))
  def test_a_signal_saves_and_says_so_by_its_exit_code(self, signum, name):
    workdir = tempfile.mkdtemp()
    process = _command(workdir, "--config.train.steps=100000",
                       "--config.train.checkpoint_every=100000")
    _wait_for(process, "step 5 of")
    process.send_signal(signum)
    output = process.communicate(timeout=120)[0]
    self.assertEqual(process.returncode, 128 + signum, output)
    self.assertIn(f"{name}: saved step", output)
    self.assertNotIn("Traceback", output)
    _, _, step = checkpoint.restore_ema(workdir)
    self.assertGreaterEqual(step, 5)

  def test_killed_at_any_moment_it_continues_the_same_curve(self):
    flags = ("--config.train.steps=40", "--config.train.checkpoint_every=2")
    whole = tempfile.mkdtemp()
    output = _command(whole, *flags).communicate(timeout=600)[0]
    expected = _losses(whole)
    self.assertLen(expected, 40, output)
    workdir = tempfile.mkdtemp()
    rng = np.random.default_rng(0)
    for marker in ("step 3 of", "step 9 of", "step 20 of"):
      process = _command(workdir, *flags)
      _wait_for(process, marker)
      time.sleep(rng.uniform(0, 0.5))  # Checkpoints every other step: some kill hits a save.
      process.kill()
      process.communicate()
    output = _command(workdir, *flags).communicate(timeout=600)[0]
    self.assertEqual(json.dumps(_losses(workdir)), json.dumps(expected), output)


if __name__ == "__main__":
  absltest.main()
