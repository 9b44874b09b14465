import functools
import logging
import pathlib
import shutil
import tempfile

import chex
import jax
import numpy as np
import pytest
from absl.testing import absltest

from ntm.losses import task
from ntm.nn import partitioning
from ntm.training import checkpoint, storage
from ntm.training import state as state_lib
from ntm.training import workdir as workdir_lib
from tests.helpers import runs, tiny

_WIDTH = {"layers": 1, "width": 16, "num_heads": 2, "num_kv_heads": 2}


def _config(**changes):
  return tiny.config(model__predictor=_WIDTH, model__transporter=_WIDTH | {"num_blocks": 1},
                     **changes)


@functools.cache
def _abstract(config, devices=1):
  mesh = partitioning.make_mesh(config.mesh, jax.devices()[:devices])
  return state_lib.abstract_state(task.density(config), config, mesh)


@functools.cache
def _new_state(config, devices):
  return runs.filled(_abstract(config, devices))


def _state(config, step, devices=1):
  state = _new_state(config, devices)
  return state.replace(step=state.step + step, ema=jax.tree.map(lambda a: a + step, state.ema))


def _write(config, workdir, steps):
  """Copies a run with these checkpoints, of which most tests need the same."""
  shutil.copytree(_written(config, tuple(steps)), workdir, dirs_exist_ok=True)


@functools.cache
def _written(config, steps):
  workdir = tempfile.mkdtemp()
  _save(config, workdir, steps)
  return workdir


def _save(config, workdir, steps, metrics=None):
  workdir_lib.prepare(workdir, config)
  checkpointer = checkpoint.Checkpointer(workdir, config)
  for step in steps:
    checkpointer.save(_state(config, step), {"next_index": step},
                      {"held_out/nats_per_dim": (metrics or {}).get(step, 1.0)}, wait=True)
  checkpointer.close()


def _truncate(workdir, step, item="params"):
  """Cuts the files with an item's numbers in half, as a full disk would.

  All of them: not every one is needed to read the item.
  """
  directory = pathlib.Path(workdir) / "checkpoints" / str(step) / item
  files = [path for path in directory.rglob("d/*") if path.is_file()]
  assert files
  for path in files:
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])


def _flip(path, rng, bytes_=64):
  """Changes so many bytes of a file; all of a shorter one."""
  content = np.frombuffer(path.read_bytes(), np.uint8).copy()
  places = rng.choice(len(content), min(bytes_, len(content)), replace=False)
  content[places] ^= rng.integers(1, 256, len(places), np.uint8)
  path.write_bytes(content.tobytes())


class CheckpointTest(absltest.TestCase):

  def setUp(self):
    super().setUp()
    self.workdir = tempfile.mkdtemp()

  def _restore(self, config, devices=1):
    checkpointer = checkpoint.Checkpointer(self.workdir, config)
    try:
      return checkpointer.restore_latest(_abstract(config, devices))
    finally:
      checkpointer.close()

  def test_a_state_comes_back_exactly(self):
    config = _config()
    _write(config, self.workdir, [3])
    state, iterator = self._restore(config)
    chex.assert_trees_all_equal(jax.device_get(state), jax.device_get(_state(config, 3)))
    self.assertEqual(iterator, {"next_index": 3})

  def test_an_empty_workdir_has_nothing(self):
    self.assertIsNone(self._restore(_config()))

  def test_restores_onto_other_devices(self):
    _write(_config(), self.workdir, [3])
    config = _config(mesh={"data": 1, "fsdp": 2, "tensor": 2})
    state, _ = self._restore(config, devices=4)
    kernel = state.params["predictor"]["network"]["stack"]["layers"]["mlp"]["up"]["kernel"]
    self.assertLen(kernel.sharding.device_set, 4)
    chex.assert_trees_all_equal(jax.device_get(state), jax.device_get(_state(_config(), 3)))

  def test_the_newest_and_the_best_are_kept(self):
    _save(_config(train__max_to_keep=2), self.workdir, [1, 2, 3, 4, 5],
          {1: 0.5, 2: 0.1, 3: 0.3, 4: 0.4, 5: 0.6})
    kept = {int(p.name) for p in (pathlib.Path(self.workdir) / "checkpoints").iterdir()
            if p.name.isdigit()}
    self.assertSetEqual(kept, {2, 4, 5})

  def test_a_truncated_step_falls_back_and_says_so(self):
    config = _config()
    _write(config, self.workdir, [3, 6])
    for item in ("params", "rest"):
      _truncate(self.workdir, 6, item)
    with self.assertLogs("ntm", "ERROR") as logs:
      state, iterator = self._restore(config)
    self.assertIn("checkpoint 6 cannot be read", logs.output[0])
    self.assertEqual((int(state.step), iterator), (3, {"next_index": 3}))
    self.assertTrue((pathlib.Path(self.workdir) / "checkpoints" / "6.corrupt").exists())
    _save(config, self.workdir, [6])  # The step can be written again.
    self.assertEqual(int(self._restore(config)[0].step), 6)

  def test_inference_falls_back_too_unless_a_step_is_asked_for(self):
    config = _config()
    _write(config, self.workdir, [3, 6])
    _truncate(self.workdir, 6, "ema")
    _, params, step = checkpoint.restore_ema(self.workdir)
    self.assertEqual(step, 3)
    chex.assert_trees_all_equal(params, jax.device_get(_state(config, 3).ema))
    with self.assertRaisesRegex(ValueError, "checkpoint 6 .* cannot be read"):
      checkpoint.restore_ema(self.workdir, 6)

  def _assert_exact_or_the_one_before(self, restore, bytes_=64, seed=0, items=()):
    """Whatever file of a step is damaged, what is read is what was written.

    Args:
      restore: () → (step, what was read, the same by step).
      bytes_: of every file.
      seed: of the places.
      items: those whose files are damaged; all of them, and other files, if none is named.

    Returns:
      The items in which damage was seen.
    """
    _write(_config(), self.workdir, [3, 6])
    rng, directory = np.random.default_rng(seed), pathlib.Path(self.workdir) / "checkpoints" / "6"
    files = sorted(path for path in directory.rglob("*") if path.is_file()
                   and (not items or path.relative_to(directory).parts[0] in items))
    self.assertGreater(len(files), 20 if not items else 5)
    seen = set()
    for path in files:
      whole, name = path.read_bytes(), str(path.relative_to(directory))
      _flip(path, rng, bytes_)
      with self.subTest(file=name), self.assertLogs("ntm", "INFO") as logs:
        logging.getLogger("ntm").info("There is a line even if nothing is wrong.")
        step, found, written = restore()
        chex.assert_trees_all_equal(found, written[step])
        self.assertEqual("checkpoint 6" in " ".join(logs.output), step == 3)
        if step == 3:
          seen.add(name.split("/")[0])
          if not directory.exists():
            directory.with_name("6.corrupt").rename(directory)
      path.write_bytes(whole)
    shutil.rmtree(self.workdir)
    return seen

  def _restore_ema(self):
    _, params, step = checkpoint.restore_ema(self.workdir)
    return step, params, {s: jax.device_get(_state(_config(), s).ema) for s in (3, 6)}

  def _restore_all(self):
    state, iterator = self._restore(_config())
    return int(state.step), (jax.device_get(state), iterator), {
        s: (jax.device_get(_state(_config(), s)), {"next_index": s}) for s in (3, 6)}

  def test_flipped_bytes_never_give_other_parameters(self):
    items = {"ema", "checksums"}  # What is read for them.
    self.assertEqual(
        self._assert_exact_or_the_one_before(self._restore_ema, items=items), items)

  @pytest.mark.slow
  def test_flipped_bytes_in_any_file_never_give_other_parameters(self):
    self.assertContainsSubset(
        {"ema", "checksums"}, self._assert_exact_or_the_one_before(self._restore_ema))

  @pytest.mark.slow
  def test_flipped_bytes_in_any_file_never_resume_from_another_state(self):
    self.assertContainsSubset(
        {"params", "ema", "rest", "iterator", "checksums"},
        self._assert_exact_or_the_one_before(self._restore_all))

  @pytest.mark.slow
  def test_one_flipped_byte_in_any_file_never_gives_other_numbers(self):
    for seed in range(5):
      self._assert_exact_or_the_one_before(self._restore_ema, 1, seed)
    self._assert_exact_or_the_one_before(self._restore_all, 1)

  def test_a_run_does_not_resume_from_numbers_that_were_not_written(self):
    """What Orbax reads without complaint, of another step."""
    config = _config()
    for item in ("params", "rest", "iterator"):
      _write(config, self.workdir, [3, 6])
      directory = pathlib.Path(self.workdir) / "checkpoints"
      shutil.rmtree(directory / "6" / item)
      shutil.copytree(directory / "3" / item, directory / "6" / item)
      if item == "params":  # The same at every step here.
        shutil.rmtree(directory / "6" / "params")
        shutil.copytree(directory / "3" / "ema", directory / "6" / "params")
      with self.subTest(item=item), self.assertLogs("ntm", "ERROR") as logs:
        state, iterator = self._restore(config)
        self.assertEqual((int(state.step), iterator), (3, {"next_index": 3}))
        self.assertLen(logs.output, 1)
        self.assertRegex(logs.output[0], rf"checkpoint 6 cannot be read \({item}")
        self.assertTrue((directory / "6.corrupt").exists())
      shutil.rmtree(self.workdir)

  def test_a_damaged_step_that_is_asked_for_is_refused(self):
    _write(_config(), self.workdir, [3, 6])
    for path in (pathlib.Path(self.workdir) / "checkpoints" / "6" / "ema").rglob("d/*"):
      _flip(path, np.random.default_rng(0))
    with self.assertRaisesRegex(ValueError, r"checkpoint 6 of .* cannot be read \(.*\); restore a "
                                            r"copy, or choose another of \[3, 6\]"):
      checkpoint.restore_ema(self.workdir, 6)

  def test_when_all_steps_are_damaged_they_are_named(self):
    _write(_config(), self.workdir, [3, 6])
    for path in (pathlib.Path(self.workdir) / "checkpoints").glob("*/ema/d/*"):
      _flip(path, np.random.default_rng(0))
    with self.assertRaisesRegex(ValueError, r"^none of the checkpoints \[3, 6\] of .* can be read "
                                            r"\(.*\); restore a copy of one.$"):
      checkpoint.restore_ema(self.workdir)

  def test_numbers_that_the_format_does_not_protect_are_compared(self):
    """What Orbax reads without complaint: an array of another step in its place."""
    config = _config()
    _write(config, self.workdir, [3, 6])
    directory = pathlib.Path(self.workdir) / "checkpoints"
    shutil.rmtree(directory / "6" / "ema")
    shutil.copytree(directory / "3" / "ema", directory / "6" / "ema")
    with self.assertLogs("ntm", "ERROR") as logs:
      self.assertEqual(checkpoint.restore_ema(self.workdir)[2], 3)
    self.assertRegex(logs.output[0], "checkpoint 6 of .* cannot be read .*ema/.* more differ")
    self.assertEqual(int(self._restore(config)[0].step), 3)

  def test_a_step_of_before_there_were_checksums_is_read(self):
    config = _config()
    _write(config, self.workdir, [3])
    shutil.rmtree(pathlib.Path(self.workdir) / "checkpoints" / "3" / "checksums")
    self.assertEqual(checkpoint.restore_ema(self.workdir)[2], 3)
    self.assertEqual(int(self._restore(config)[0].step), 3)

  def test_a_half_written_step_is_ignored(self):
    config = _config()
    _write(config, self.workdir, [3])
    partial = pathlib.Path(self.workdir) / "checkpoints" / "6.orbax-checkpoint-tmp"
    (partial / "params.orbax-checkpoint-tmp").mkdir(parents=True)
    self.assertEqual(int(self._restore(config)[0].step), 3)

  def test_when_nothing_can_be_read_the_run_does_not_start_over(self):
    config = _config()
    _write(config, self.workdir, [3])
    _truncate(self.workdir, 3)
    with self.assertRaisesRegex(ValueError, "none of the checkpoints"):
      self._restore(config)

  def test_missing_runs_and_steps_are_named(self):
    with self.assertRaisesRegex(FileNotFoundError, "holds no config.json"):
      checkpoint.restore_ema(self.workdir)
    workdir_lib.prepare(self.workdir, _config())
    for step in (None, 4):
      with self.assertRaisesRegex(FileNotFoundError, "has no checkpoint yet; repeat the command "
                                  "that began it, which saves one every 3 updates"):
        checkpoint.restore_ema(self.workdir, step)
    _write(_config(), self.workdir, [3])
    with self.assertRaisesRegex(FileNotFoundError, r"no checkpoint 4; complete steps are \[3\]"):
      checkpoint.restore_ema(self.workdir, 4)


class BucketTest(absltest.TestCase):

  def test_a_bucket_stays_one(self):
    opened = []
    with absltest.mock.patch.object(
        checkpoint.ocp, "CheckpointManager", side_effect=lambda path, **_: opened.append(path)):
      checkpoint.Checkpointer("gs://bucket/run", _config())
    self.assertEqual(str(opened[0]), "gs://bucket/run/checkpoints")


class StorageTest(absltest.TestCase):

  def setUp(self):
    super().setUp()
    self.workdir = tempfile.mkdtemp()
    self.pauses = []
    self.enter_context(
        absltest.mock.patch.object(storage.time, "sleep", self.pauses.append))

  def _open(self, failures, action):
    """A checkpointer whose storage fails the first times that something is done."""
    config = _config()
    workdir_lib.prepare(self.workdir, config)
    checkpointer = checkpoint.Checkpointer(self.workdir, config)
    real, left = getattr(checkpointer._manager, action), [failures]

    def fail(*args, **kwargs):
      result = real(*args, **kwargs)
      if left[0]:
        left[0] -= 1
        raise OSError(28, "No space left on device")
      return result

    self.enter_context(absltest.mock.patch.object(checkpointer._manager, action, fail))
    return checkpointer

  def test_what_a_bucket_does_not_give_at_once_is_asked_for_again(self):
    config = _config()
    _write(config, self.workdir, [3])
    checkpointer = self._open(2, "restore")
    checkpointer._read_pauses = storage.PAUSES  # As for gs://...
    state, _ = checkpointer.restore_latest(_abstract(config, 1))
    self.assertEqual((int(state.step), self.pauses), (3, [1, 5]))
    self.assertFalse((pathlib.Path(self.workdir) / "checkpoints" / "3.corrupt").exists())
    checkpointer.close()

  def test_a_save_is_tried_again_after_growing_pauses(self):
    config = _config()
    workdir_lib.prepare(self.workdir, config)
    checkpointer = checkpoint.Checkpointer(self.workdir, config)
    directory = pathlib.Path(self.workdir) / "checkpoints"
    # Orbax looks for half-written steps in the background, until the first save.
    checkpointer.save(_state(config, 1), {"next_index": 1}, {}, wait=True)
    # No directory can be made where there is a file.
    shutil.rmtree(directory)
    directory.write_text("in the way")

    def sleep(seconds):
      self.pauses.append(seconds)
      if len(self.pauses) == 2:
        directory.unlink()
        directory.mkdir()

    with (absltest.mock.patch.object(storage.time, "sleep", sleep),
          self.assertLogs("ntm", "WARNING") as logs):
      checkpointer.save(_state(config, 3), {"next_index": 3}, {}, wait=True)
    checkpointer.close()
    self.assertLen(logs.output, 2)
    self.assertIn("cannot write checkpoint 3", logs.output[0])
    self.assertLen(self.pauses, 2)
    self.assertLess(self.pauses[0], self.pauses[1])
    self.assertEqual(checkpoint.restore_ema(self.workdir)[2], 3)

  def test_when_all_attempts_fail_this_is_an_error(self):
    checkpointer = self._open(100, "save")
    with (self.assertRaisesRegex(storage.StorageError, "3 cannot be written .*No space left"),
          absltest.mock.patch.object(checkpointer._manager, "all_steps", lambda: [])):
      checkpointer.save(_state(_config(), 3), {}, {})
    self.assertLen(self.pauses, 3)

  def test_a_failure_in_the_background_is_logged_and_the_next_save_waited_for(self):
    checkpointer = self._open(1, "wait_until_finished")
    with self.assertLogs("ntm", "WARNING") as logs:
      checkpointer.save(_state(_config(), 3), {"next_index": 3}, {})
    self.assertIn("checkpoint before step 3 could not be written (OSError", logs.output[0])
    self.assertTrue((pathlib.Path(self.workdir) / "checkpoints" / "3").exists())
    checkpointer.close()


if __name__ == "__main__":
  absltest.main()
