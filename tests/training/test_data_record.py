"""Runs on data that are damaged or change between starts."""

import dataclasses
import json
import pathlib
import shutil
import tempfile
from unittest import mock

import chex
import jax
import numpy as np
import pytest
from absl.testing import absltest
from PIL import Image

from ntm.data import pipeline
from ntm.losses import task
from ntm.nn import partitioning
from ntm.training import checkpoint, data_record, loop, metrics, multihost
from ntm.training import state as state_lib
from tests.helpers import tiny
from tests.helpers.numbered import Numbers
from tests.helpers.stop import StopAfter

_DEVICES = jax.devices()


def _config(source, root, **changes):
  small = {"layers": 1, "width": 8, "num_heads": 2, "num_kv_heads": 2}
  data = {"source": source, "path": str(root), "test_fraction": 0.1}
  return tiny.config(model__predictor=small, model__transporter=small | {"num_blocks": 1},
                     model__num_classes=0, data=data, mesh={"data": 1}, train__sample_every=10**6,
                     **changes)


def _folder(count=45, directory=""):
  root = pathlib.Path(tempfile.mkdtemp()) / directory
  root.mkdir(exist_ok=True)
  rng = np.random.default_rng(0)
  for i in range(count):
    Image.fromarray(rng.integers(0, 256, (4, 4), np.uint8)).save(root / f"{i:03}.png")
  return root


def _break(root, *numbers):
  """Damages training images of `_folder`, none of which is a multiple of ten less one."""
  for number in numbers:
    (root / f"{number:03}.png").write_bytes(b"\x89PNG\r\n\x1a\n")


def _training_data(config, workdir):
  """As the commands open data: checked against the workdir's record."""
  iterator, held_out = pipeline.training_data(config)
  data_record.check(workdir, iterator.record)
  return iterator, held_out


def _train(config, workdir, stop_after=None):
  iterator, held_out = _training_data(config, workdir)
  # No pictures, which take longest to compile.
  make_task = lambda config: dataclasses.replace(
      task.density(config), samples=lambda params, frozen, examples: {})
  with mock.patch.object(multihost, "Preemption", StopAfter(stop_after)):
    loop.train(make_task, config, workdir, iterator, held_out)


def _final(config, workdir):
  mesh = partitioning.make_mesh(config.mesh, jax.devices()[:1])
  abstract = state_lib.abstract_state(task.density(config), config, mesh)
  checkpointer = checkpoint.Checkpointer(workdir, config)
  state, position = checkpointer.restore_latest(abstract)
  checkpointer.close()
  return jax.device_get(state), position


def _unreadable(workdir):
  return (pathlib.Path(workdir) / data_record.UNREADABLE).read_text().splitlines()


class DamagedDataTest(absltest.TestCase):

  def setUp(self):
    super().setUp()
    self.enter_context(mock.patch.object(jax, "devices", lambda: _DEVICES[:1]))
    self.workdir = tempfile.mkdtemp()

  @pytest.mark.slow
  def test_resumed_equals_uninterrupted_with_a_damaged_file(self):
    root = _folder()
    _break(root, 13)
    config = _config("folder", root)
    with self.assertLogs("ntm", "WARNING") as logs:
      _train(config, self.workdir)
    said = [line for line in logs.output if "013.png cannot be read" in line]
    self.assertLen(said, 1)
    other = tempfile.mkdtemp()
    with self.assertRaises(loop.Preempted):
      _train(config, other, stop_after=4)
    _train(config, other)
    chex.assert_trees_all_equal(_final(config, self.workdir), _final(config, other))
    for workdir in (self.workdir, other):
      self.assertLen(_unreadable(workdir), 1)
      self.assertStartsWith(_unreadable(workdir)[0], "013.png\t")
      counts = [line["unreadable"] for line in metrics.read(workdir) if "unreadable" in line]
      self.assertEqual(counts[-1], 1)

  @pytest.mark.slow
  def test_too_many_end_the_run_with_its_state_saved_until_they_are_repaired(self):
    root, sound = _folder(), _folder()
    config = _config("folder", root, train__steps=12, train__log_every=1,
                     train__checkpoint_every=100)
    _break(root, 11, 12, 13)  # One of 41 may be.
    with self.assertRaisesRegex(
        ValueError, r"2 files|3 files cannot be read, and at most 1 may be.*: 01.\.png, 01.\.png"
    ) as raised:
      _train(config, self.workdir)
    self.assertIn("unreadable.txt. Put readable ones in their places", str(raised.exception))
    step = int(_final(config, self.workdir)[0].step)
    self.assertBetween(step, 1, 11)
    self.assertIn(f"The state after step {step} is saved", str(raised.exception))
    # The same again, before any update.
    with mock.patch.object(loop._Run, "steps", side_effect=AssertionError):
      with self.assertRaisesRegex(ValueError, "files cannot be read, and at most 1 may be"):
        _train(config, self.workdir)
    for file in sound.iterdir():
      shutil.copy(file, root)
    _train(config, self.workdir)
    self.assertEqual(int(_final(config, self.workdir)[0].step), 12)
    self.assertEmpty(_unreadable(self.workdir))

  @pytest.mark.slow
  def test_nan_in_an_array_is_named_with_the_run_saved_and_repaired_it_goes_on(self):
    root = pathlib.Path(tempfile.mkdtemp())
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
      (root / split).mkdir()
      np.save(root / split / "image.npy", rng.normal(size=(96, 4, 4, 1)).astype(np.float32))
    config = _config("arrays", root, train__steps=12, train__checkpoint_every=100)
    whole = tempfile.mkdtemp()
    _train(config, whole)
    # One epoch is twelve batches: an example of the last one.
    ids = pipeline.train_iterator(Numbers(96), 8, config.train.seed)
    poison = [next(ids)["label"] for _ in range(12)][-1][0]
    images = np.load(root / "train" / "image.npy", mmap_mode="r+")
    value = images[poison, 0, 1, 0]
    images[poison, 0, 1, 0] = np.nan
    images.flush()
    with self.assertRaisesRegex(
        ValueError, rf"train/image.npy\[{poison}\] holds nan at \[0, 1, 0\]; expected values .*"
        r"Prepare that example again. The state after step \d+ is saved; the same command"):
      _train(config, self.workdir)
    self.assertBetween(int(_final(config, self.workdir)[0].step), 1, 11)
    images[poison, 0, 1, 0] = value
    images.flush()
    _train(config, self.workdir)
    chex.assert_trees_all_equal(_final(config, self.workdir), _final(config, whole))


class RecordTest(absltest.TestCase):

  def setUp(self):
    super().setUp()
    self.root, self.workdir = _folder(20), tempfile.mkdtemp()
    self.config = _config("folder", self.root)

  def _start(self, first_step=0):
    """What a start does to the record; checkpoints follow."""
    iterator, _ = _training_data(self.config, self.workdir)
    data_record.write(self.workdir, iterator.record, first_step)
    (pathlib.Path(self.workdir) / "checkpoints" / "3").mkdir(parents=True, exist_ok=True)

  def test_unchanged_data_are_accepted_wherever_they_are(self):
    self._start()
    moved = pathlib.Path(tempfile.mkdtemp()) / "moved"
    shutil.copytree(self.root, moved)
    _training_data(_config("folder", moved), self.workdir)
    self._start(3)

  def test_files_that_appear_or_vanish_are_named(self):
    self._start()
    (self.root / "007.png").rename(self.root / "new.png")
    with self.assertRaisesRegex(
        ValueError, r"not those that .* started with: 1 appeared \(new.png\); 1 vanished "
        r"\(007.png\); 3 changed the split \(0.*Restore .* remove .*data.json.gz") as raised:
      self._start(3)
    self.assertNotIn("\n", str(raised.exception))
    (self.root / "new.png").rename(self.root / "007.png")
    self._start(3)

  def test_a_single_file_more_is_noticed(self):
    self._start()
    Image.new("L", (4, 4)).save(self.root / "999.png")
    with self.assertRaisesRegex(ValueError, r"with: 1 appeared \(999.png\)\. The order"):
      self._start(3)

  def test_another_share_of_test_images_is_noticed(self):
    self._start()
    config = tiny.config(**{"model__num_classes": 0, "data": {
        "source": "folder", "path": str(self.root), "test_fraction": 0.5}})
    with self.assertRaisesRegex(ValueError, r"with: 8 changed the split \(0"):
      _training_data(config, self.workdir)

  def test_the_record_can_be_given_up(self):
    self._start()
    (self.root / "007.png").unlink()
    (pathlib.Path(self.workdir) / data_record.FILE).unlink()
    self._start(3)
    self._start(3)

  def test_a_run_without_checkpoints_starts_anew_with_other_data(self):
    self._start()
    (self.root / "007.png").unlink()
    shutil.rmtree(pathlib.Path(self.workdir) / "checkpoints")
    self._start()
    self._start(3)

  def test_arrays_of_another_length_are_noticed(self):
    root = pathlib.Path(tempfile.mkdtemp())
    for split in ("train", "test"):
      (root / split).mkdir()
      np.save(root / split / "image.npy", np.zeros((6, 4, 4, 1), np.float32))
    self.config = _config("arrays", root)
    self._start()
    np.save(root / "train" / "image.npy", np.zeros((7, 4, 4, 1), np.float32))
    with self.assertRaisesRegex(ValueError, r"appeared \(train/image.npy float32 \[7, 4, 4, 1\]\); "
                                r"1 vanished \(train/image.npy float32 \[6,"):
      self._start(3)

  def test_a_damaged_record_is_one_line(self):
    self._start()
    path = pathlib.Path(self.workdir) / data_record.FILE
    for data in (b"", path.read_bytes()[:50], b"text", path.read_bytes()[::-1]):
      path.write_bytes(data)
      with self.assertRaisesRegex(ValueError, "json.gz cannot be read .*; remove it") as raised:
        self._start(3)
      self.assertNotIn("\n", str(raised.exception))

  def test_processes_that_see_other_files_are_refused(self):
    with mock.patch.object(multihost, "allgather_strings", lambda text: [text, text, "other"]):
      with self.assertRaisesRegex(ValueError, "process 2 sees other data than process 0"):
        _training_data(self.config, self.workdir)

  def test_unreadable_examples_of_all_processes_are_counted_alike(self):
    iterator, _ = _training_data(self.config, self.workdir)
    theirs = json.dumps({"005.png": "empty"})
    with mock.patch.object(multihost, "allgather_strings", lambda text: [text, theirs]):
      unreadable = data_record.Unreadable(self.workdir, iterator)
    self.assertEqual(_unreadable(self.workdir), ["005.png\tempty"])
    self.assertEqual((unreadable.update(), unreadable.too_many()), (1, ""))

  def test_evaluation_on_changed_data_is_warned_of(self):
    self._start()
    with self.assertNoLogs("ntm", "WARNING"):
      train, test, record = pipeline.evaluation_data(self.config, 100)
      data_record.warn_if_changed(self.workdir, record)
    self.assertEqual((len(train["image"]), len(test["image"])), (18, 2))
    (self.root / "007.png").unlink()
    with self.assertLogs("ntm", "WARNING") as logs:
      data_record.warn_if_changed(self.workdir, pipeline.evaluation_data(self.config, 100)[2])
    self.assertIn("1 vanished (007.png)", logs.output[0])
    self.assertIn("test examples may be among those it has seen", logs.output[0])


if __name__ == "__main__":
  absltest.main()
