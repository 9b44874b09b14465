"""Samples are those of one call of a model, by however many processes and in however many runs."""

import json
import pathlib
import tempfile
from unittest import mock

import jax
import numpy as np
from absl.testing import absltest, parameterized

import ntm
from ntm.api import batching
from ntm.commands import drawing
from ntm.data import pipeline
from ntm.data.scenes import Scenes
from ntm.evaluation.sample_parts import SampleParts
from tests.helpers import runs

_SHAPE = (2, 2, 1)


class _Model:
  """Noise, of which some samples are NaN; it may fail at a call."""

  def __init__(self, broken=(), fails_at=None):
    self._broken, self._fails_at, self.calls = broken, fails_at, []

  def sample(self, rng, labels, num_samples, offset, guidance):
    if len(self.calls) == self._fails_at:
      raise KeyboardInterrupt
    self.calls.append((offset, num_samples, labels if labels is None else labels.tolist(),
                       guidance))
    rng = jax.random.fold_in(rng, offset)
    images = np.array(jax.random.normal(rng, (num_samples, *_SHAPE)))
    images[[i - offset for i in self._broken if 0 <= i - offset < num_samples], 0, 1] = np.nan
    return images


def _draw(model, count=10, labels=None, as_uint8=False, parts=None):
  return drawing.draw(model, jax.random.key(0), labels, count, _SHAPE, as_uint8, parts,
                      guidance=0.5)


class DrawTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.directory = pathlib.Path(tempfile.mkdtemp()) / "samples"
    self.enter_context(mock.patch.object(batching, "SIZE", 4))

  def _parts(self, **settings):
    return SampleParts(self.directory, settings, _SHAPE, np.float32)

  def _assert_same(self, found, expected):
    for ours, theirs in zip(found, expected):
      np.testing.assert_array_equal(ours, theirs)
      self.assertEqual(ours.dtype, theirs.dtype)

  def test_what_is_not_finite_is_counted_and_left_out_and_never_drawn_again(self):
    model = _Model(broken=(1, 7))
    with self.assertLogs("ntm", "WARNING") as logs:
      images, finite = _draw(model)
    self.assertRegex(logs.output[0], "2 of 10 samples hold NaN .*left out")
    np.testing.assert_array_equal(np.flatnonzero(~finite), [1, 7])
    np.testing.assert_array_equal(images, _draw(_Model())[0][finite])
    self.assertEqual(model.calls, [(0, 4, None, 0.5), (4, 4, None, 0.5), (8, 2, None, 0.5)])

  def test_too_few_finite_ones_are_an_error(self):
    with self.assertRaisesRegex(FloatingPointError, "7 of 10 samples hold NaN"):
      _draw(_Model(broken=range(7)))
    self.assertEqual(_draw(_Model(), count=2)[1].sum(), 2)

  def test_parts_have_other_noise_and_their_own_labels(self):
    model = _Model()
    images, _ = _draw(model, labels=np.arange(10))
    self.assertEqual([call[2] for call in model.calls], [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]])
    self.assertLen(np.unique(images[:, 0, 0, 0]), 10)

  def test_bytes_are_the_nearest(self):
    images, _ = _draw(_Model(), as_uint8=True)
    np.testing.assert_array_equal(
        images, (_draw(_Model())[0].clip(-1, 1) * 127.5 + 127.5).round().astype(np.uint8))
    self.assertEqual(images.dtype, np.uint8)

  @parameterized.parameters(2, 3, 5)
  def test_the_shares_of_processes_are_the_samples_of_one(self, processes):
    shares = []
    for process in range(processes):
      with (mock.patch.object(jax, "process_count", lambda: processes),
            mock.patch.object(jax, "process_index", lambda process=process: process),
            mock.patch.object(drawing.checks, "finite"),  # Here of a share alone.
            mock.patch.object(drawing.multihost, "allgather_rows", lambda rows: rows)):
        shares.append(_draw(_Model(broken=[5]), labels=np.arange(10)))
    self._assert_same(map(np.concatenate, zip(*shares)),
                      _draw(_Model(broken=[5]), labels=np.arange(10)))

  @parameterized.parameters(0, 1, 2)
  def test_a_run_that_stopped_is_continued_by_the_same_samples(self, stop):
    expected = _draw(_Model(broken=[5]))
    with self.assertRaises(KeyboardInterrupt):
      _draw(_Model(broken=[5], fails_at=stop), parts=self._parts(seed=0))
    self.assertLen(list(self.directory.glob("*.npz")), stop)
    model = _Model(broken=[5])
    self._assert_same(_draw(model, parts=self._parts(seed=0)), expected)
    self.assertEqual([call[:2] for call in model.calls], [(0, 4), (4, 4), (8, 2)][stop:])
    again = _Model(fails_at=0)  # Is not called.
    self._assert_same(_draw(again, parts=self._parts(seed=0)), expected)

  def test_a_part_that_was_cut_off_is_drawn_again_as_it_was(self):
    expected = _draw(_Model(), parts=self._parts(seed=0))
    path = self.directory / "part-000001.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[:len(whole) // 2])
    (self.directory / "part-000000.npz").unlink()
    model = _Model()
    with self.assertLogs("ntm", "WARNING") as logs:
      self._assert_same(_draw(model, parts=self._parts(seed=0)), expected)
    self.assertRegex(logs.output[0], "part-000001.npz cannot be used .*; its samples are drawn ag")
    self.assertEqual([call[:2] for call in model.calls], [(0, 4), (4, 4)])
    self.assertEqual(path.stat().st_size, len(whole))

  def test_a_disk_without_room_is_refused_before_the_first_sample(self):
    model = _Model()
    with (mock.patch("shutil.disk_usage", return_value=mock.Mock(free=9)),
          self.assertRaisesRegex(ValueError, "samples needs 0.00 GB, and its disk has")):
      _draw(model, parts=self._parts(seed=0))
    self.assertEmpty(model.calls)

  def test_it_says_how_many_of_the_missing_are_drawn(self):
    with self.assertRaises(KeyboardInterrupt):
      _draw(_Model(fails_at=1), parts=self._parts(seed=0))
    reports = mock.MagicMock()
    with mock.patch.object(drawing, "progress", reports):
      _draw(_Model(), parts=self._parts(seed=0))
    self.assertEqual(reports().__enter__().call_args_list, [mock.call(4, 6), mock.call(6, 6)])


class OpenPartsTest(absltest.TestCase):

  def test_the_record_has_all_that_samples_depend_on(self):
    root = pathlib.Path(tempfile.mkdtemp())
    runs.write(root / "run", runs.config())
    runs.write(root / "run" / "denoiser", runs.config(), teacher=root / "run")

    def record(labels=(0, 1), as_uint8=False, change=0.0, **how):
      model = ntm.restore(root / "run")
      model.params = jax.tree.map(lambda a: a + change, model.params)
      directory = tempfile.mkdtemp()
      drawing.open_parts(directory, str(root / "run"), model, np.array(labels), (8, 8, 1), as_uint8,
                         **({"seed": 0, "refine": "score", "guidance": 1.0} | how))
      return json.loads((pathlib.Path(directory) / "settings.json").read_text())

    first = record()
    self.assertEqual(record(num_steps=2), first)  # By default it is the same.
    self.assertContainsSubset({"checkpoint": 3, "workdir": str(root / "run"), "num_steps": 2,
                               "seed": 0, "guidance": 1.0, "rounding": "none"}, first)
    for other, names in ((record(seed=1), {"seed"}), (record(labels=(1, 0)), {"labels_sha256"}),
                         (record(as_uint8=True), {"rounding"}),
                         (record(change=1e-3), {"parameters_checksum"}),
                         (record(refine="denoiser"), {"refine", "denoiser_checksum"})):
      self.assertEqual({name for name in first | other if first.get(name) != other.get(name)},
                       names)


class LabelsTest(absltest.TestCase):

  def test_uniform_as_in_training_or_none(self):
    labels, about = drawing.labels(runs.config(), "uniform", 25)
    np.testing.assert_array_equal(labels, np.arange(25) % 10)
    self.assertEqual(about, "uniform")
    source = [{"label": label} for label in [3] * 90 + [5] * 10]
    with mock.patch.object(pipeline, "load_split", lambda config, split: source):
      for count in (50, 100, 200):
        labels, about = drawing.labels(runs.config(), "training", count)
        self.assertLen(labels, count)
        self.assertAlmostEqual((labels == 5).mean(), 0.1, delta=0.021)
        self.assertIn(5, labels[:count // 2])  # In no order, though the source is in that of class.
    self.assertEqual(about, "as in training")
    self.assertEqual(drawing.labels(runs.config(num_classes=0), "uniform", 5),
                     (None, "none"))

  def test_a_model_of_captions_is_given_those_of_held_out_examples(self):
    config = runs.config(
        num_classes=0, image_shape=(32, 32, 3), patch_shape=(16, 16),
        backbone={"text_tokens": 16, "vocab_size": 54}, data={"source": "scenes"},
        text={"tokenizer": "scenes"})
    captions, about = drawing.labels(config, "uniform", 3)
    source = Scenes("test", 32)
    rows = pipeline.spaced(len(source), 3)
    self.assertCountEqual(captions, [source.scene(int(row)).caption for row in rows])
    self.assertEqual(about, "captions of held-out examples")


if __name__ == "__main__":
  absltest.main()
