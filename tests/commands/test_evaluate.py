"""`ntm evaluate` measures the likelihood and the samples of a run."""

import dataclasses
import json
import pathlib
import signal
import tempfile
import time
from unittest import mock

import jax
import numpy as np
import pytest
from absl.testing import absltest, parameterized
from PIL import Image

import ntm
from ntm import config as config_lib
from ntm.api import batching
from ntm.commands import drawing
from ntm.data import digits, pipeline
from ntm.data.folder_captions import CaptionedFolder
from ntm.data.scenes import Scenes
from ntm.evaluation import features, frechet
from ntm.evaluation.clip import Clip
from ntm.evaluation.lpips import Lpips
from ntm.evaluation.sample_parts import SampleParts
from tests.helpers import encoding, processes, runs, tiny_autoencoder

_READS_CLASS = {"layers": 1, "width": 8, "num_heads": 2, "num_kv_heads": 2, "num_blocks": 1,
                "features": 4}


_COLOURS = (slice(None), 2, slice(2, 6), 0)  # Of an image, four values.


def four_values(images):
  """Features of uint8 images."""
  return images[_COLOURS].astype(np.float32)


def _figures(path):
  """A result without what says how and when it was made."""
  result = json.loads(path.read_text())
  return {name: value for name, value in result.items() if name not in ("command", "date")}


class EvaluateTest(parameterized.TestCase):

  def test_all_is_measured(self):
    workdir = pathlib.Path(tempfile.mkdtemp())
    runs.write(workdir, runs.config())
    processes.ntm("evaluate", f"--workdir={workdir}", "--num_samples=64", "--draws=1",
                  f"--json={workdir / 'result.json'}")
    result = json.loads((workdir / "result.json").read_text())
    self.assertContainsSubset(
        {"nll_nats_per_dim", "nll_per_step", "class_accuracy", "frechet_distance", "num_steps",
         "num_samples", "precision", "recall", "train_nll_nats_per_dim",
         "test_frechet_distance"}, result)
    self.assertContainsSubset(
        {"features": "classifier", "resize": "none", "rounding": "none", "labels": "uniform",
         "reference": "training images", "num_reference": 1500, "num_nonfinite_samples": 0}, result)
    self.assertLen(result["nll_per_step"], 2)
    self.assertAlmostEqual(np.mean(result["nll_per_step"]), result["nll_nats_per_dim"], places=6)
    # The real test digits do not depend on the model.
    self.assertAlmostEqual(result["test_class_accuracy"], 0.93, delta=0.02)

  @parameterized.parameters("ntm", "flow_matching")
  def test_a_model_of_latents_is_measured_in_pixels(self, kind):
    root = pathlib.Path(tempfile.mkdtemp())
    rng = np.random.default_rng(0)
    for label in range(3):  # Every class has a colour.
      (root / "images" / str(label)).mkdir(parents=True)
      for i in range(20):
        pixels = rng.integers(0, 60, (8, 8, 3)) + 180 * (np.arange(3) == label)
        Image.fromarray(pixels.astype(np.uint8)).save(root / "images" / str(label) / f"{i:02}.png")
    config = tiny_autoencoder.config(
        "kl", model__kind=kind, data={"source": "folder", "path": str(root / "images"),
                                      "test_fraction": 0.3})
    runs.write(root / "run", config)
    flags = ["--draws=2"] if kind == "ntm" else ["--steps=2"]
    code, stderr = runs.call("evaluate", f"--workdir={root / 'run'}", "--num_samples=30",
                             f"--json={root / 'result.json'}", *flags)
    self.assertEqual(code, 0, stderr)
    result = json.loads((root / "result.json").read_text())
    self.assertEqual(result["test_class_accuracy"], 1)
    self.assertGreater(result["frechet_distance"], 2 * result["test_frechet_distance"])
    self.assertContainsSubset({"precision", "recall", "class_accuracy"}, result)
    if kind == "ntm":  # The likelihood is that of the mean of the latents, per dimension of theirs.
      model = ntm.restore(root / "run")
      test = pipeline.evaluation_data(config, 100)[1]
      keys = jax.random.split(jax.random.split(jax.random.key(0))[0], 2)
      draws = [model.log_prob(key, test["image"], test["label"]).step_SB for key in keys]
      np.testing.assert_allclose(result["nll_per_step"],
                                 -np.mean(draws, axis=(0, 2)) / (4 * 4 * 4), rtol=1e-5)

  @pytest.mark.slow
  def test_figures_that_are_not_finite_are_not_written(self):
    workdir = processes.diverged()
    code, stderr = runs.call("evaluate", f"--workdir={workdir}", f"--json={workdir / 'e.json'}")
    self.assertEqual(code, 1)
    self.assertRegex(stderr, "(?m)^error: 2000 of 2000 samples hold NaN or infinite numbers")
    self.assertFalse((workdir / "e.json").exists())

  def test_a_model_without_classes_by_other_features_and_images(self):
    workdir = pathlib.Path(tempfile.mkdtemp())
    runs.write(workdir, runs.config(kind="flow_matching", num_classes=0))
    real = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3), np.uint8)
    np.savez(workdir / "real.npz", arr_0=real)
    code, stderr = runs.call(
        "evaluate", f"--workdir={workdir}", "--num_samples=20", "--steps=2", "--export=adm",
        f"--features={__name__}:four_values", f"--reference={workdir / 'real.npz'}",
        f"--output={workdir / 'out'}", f"--json={workdir / 'e.json'}")
    self.assertEqual(code, 0, stderr)
    self.assertRegex(stderr, "20 samples and 30 images of the reference, fewer than 50000")
    result = json.loads((workdir / "e.json").read_text())
    with np.load(workdir / "out.npz") as file:
      samples = file["arr_0"]
    self.assertEqual((samples.dtype, samples.shape), (np.uint8, (20, 8, 8, 3)))
    expected = frechet.distance(*(features.OfFunction(f"{__name__}:four_values")(
        features.as_float(x)).pool for x in (real, samples)))
    self.assertAlmostEqual(result["frechet_distance"] / expected, 1, places=6)
    self.assertEqual((result["labels"], result["num_reference"]), ("none", 30))
    self.assertNotIn("class_accuracy", result)
    self.assertIn("test_precision", result)

  def test_a_run_that_stopped_goes_on_to_the_same_figures(self):
    workdir = pathlib.Path(tempfile.mkdtemp())
    runs.write(workdir, runs.config(kind="flow_matching", num_classes=0))
    kept, result = workdir / "kept", workdir / "e.json"
    flags = [f"--workdir={workdir}", "--num_samples=20", "--steps=2", f"--json={result}",
             f"--features={__name__}:four_values"]
    self.enter_context(mock.patch.object(batching, "SIZE", 4))
    self.assertEqual(runs.call("evaluate", *flags)[0], 0)
    expected = _figures(result)
    flags.append(f"--samples_dir={kept}")
    write, written = SampleParts.write, []

    def write_or_stop(*args):
      if len(written) == 4:
        raise RuntimeError("stopped")
      written.append(write(*args))

    with (mock.patch.object(SampleParts, "write", write_or_stop),
          self.assertRaisesRegex(RuntimeError, "stopped")):
      runs.call("evaluate", *flags)
    self.assertLen(list(kept.glob("*.npz")), 4)
    path = kept / "part-000002.npz"
    path.write_bytes(path.read_bytes()[:-100])
    code, stderr = runs.call("evaluate", *flags)
    self.assertEqual(code, 0, stderr)
    self.assertEqual(_figures(result), expected)
    self.assertIn("part-000002.npz cannot be used", stderr)
    self.assertIn("3 parts of the samples were drawn before, 2 are missing", stderr)
    before = runs.tree(workdir)
    for flag, message in (
        ("--seed=1", "has samples of seed 0, not 1; repeat the command that began it, or choose "
                     "another --samples_dir"),
        ("--solver=heun", "solver 'euler', not 'heun'"),
        ("--num_samples=21", "num_samples 20, not 21"),
        ("--features=classifier", "rounding 'nearest', not 'none'")):
      code, stderr = runs.call("evaluate", *flags, flag)
      self.assertEqual(code, 1)
      self.assertIn(message, stderr)
    self.assertEqual(runs.tree(workdir), before)

  @pytest.mark.slow
  def test_after_kill_9_the_same_command_gives_the_figures_of_one_run(self):
    workdir = pathlib.Path(tempfile.mkdtemp())
    runs.write(workdir, runs.config(kind="flow_matching", num_classes=0))
    flags = ["evaluate", f"--workdir={workdir}", "--num_samples=2000", "--steps=60",
             "--solver=heun", f"--features={__name__}:four_values"]
    processes.ntm(*flags, f"--json={workdir / 'whole.json'}")
    flags += [f"--samples_dir={workdir / 'kept'}", f"--json={workdir / 'e.json'}"]
    parts = lambda: set((workdir / "kept").glob("part-*.npz"))
    for _ in range(2):
      before = parts()
      with processes.started(*flags) as run:
        while parts() == before:
          self.assertIsNone(run.poll())
          time.sleep(0.001)
        run.kill()
        self.assertEqual(run.wait(), -signal.SIGKILL)
      self.assertBetween(len(parts()), len(before) + 1, 7)  # Of 8.
    drawn = {path: path.stat().st_mtime_ns for path in parts()}
    self.assertRegex(processes.ntm(*flags).stderr, "[1-9] parts of the samples were drawn before")
    self.assertLen(parts(), 8)
    self.assertEqual({path: path.stat().st_mtime_ns for path in drawn}, drawn)
    self.assertEqual(_figures(workdir / "e.json"), _figures(workdir / "whole.json"))

  def test_likelihoods_are_left_out_on_request(self):
    workdir = pathlib.Path(tempfile.mkdtemp())
    runs.write(workdir, runs.config())
    code, stderr = runs.call("evaluate", f"--workdir={workdir}", "--num_samples=20", "--draws=0",
                             f"--features={__name__}:four_values", f"--json={workdir / 'e.json'}")
    self.assertEqual(code, 0, stderr)
    self.assertNotIn("scoring", stderr)
    result = json.loads((workdir / "e.json").read_text())
    self.assertContainsSubset({"num_steps": 2, "num_samples": 20}, result)
    self.assertContainsSubset({"frechet_distance", "test_frechet_distance"}, result)
    self.assertNotIn("nll_nats_per_dim", result)

  def test_an_export_alone_needs_neither_classes_nor_features(self):
    workdir = pathlib.Path(tempfile.mkdtemp())
    runs.write(workdir, runs.config(kind="flow_matching", num_classes=0))
    code, stderr = runs.call("evaluate", f"--workdir={workdir}", "--num_samples=5", "--steps=2",
                             "--export=adm", f"--json={workdir / 'e.json'}")
    self.assertEqual(code, 0, stderr)
    with np.load(workdir / "samples" / "adm.npz") as file:
      self.assertEqual(file["arr_0"].shape, (5, 8, 8, 3))
    result = json.loads((workdir / "e.json").read_text())
    self.assertEqual((result["num_samples"], result["num_nonfinite_samples"]), (5, 0))
    self.assertNotIn("frechet_distance", result)

  @pytest.mark.slow
  def test_two_processes_draw_and_measure_a_share_each(self):
    workdir = pathlib.Path(tempfile.mkdtemp())
    runs.write(workdir, runs.config(kind="flow_matching", num_classes=0))
    flags = ["evaluate", f"--workdir={workdir}", "--num_samples=600", "--steps=2", "--export=adm",
             f"--features={__name__}:four_values"]
    output = processes.launched(
        *flags, f"--output={workdir / 'two'}", f"--json={workdir / 'two.json'}",
        f"--samples_dir={workdir / 'kept'}")
    self.assertEqual(output.count("wrote"), 1)  # By the first process alone.
    self.assertLen(list((workdir / "kept").glob("part-*.npz")), 3)
    processes.ntm(*flags, f"--output={workdir / 'one'}", f"--json={workdir / 'one.json'}")
    two, one = (np.load(workdir / f"{name}.npz")["arr_0"] for name in ("two", "one"))
    np.testing.assert_array_equal(two, one)  # However many processes draw them.
    self.assertLen(np.unique(two.reshape(600, -1), axis=0), 600)
    two, one = (_figures(workdir / f"{name}.json") for name in ("two", "one"))
    self.assertEqual(two, one)
    self.assertEqual((two["num_samples"], two["num_nonfinite_samples"]), (600, 0))
    data = digits.Digits("train").batch(np.arange(1500))["image"]
    extract = features.OfFunction(f"{__name__}:four_values")
    with np.load(workdir / "one.npz") as file:
      samples = features.as_float(file["arr_0"])
    self.assertAlmostEqual(one["frechet_distance"] / frechet.distance(
        extract(data).pool, extract(samples).pool), 1, places=6)

  @parameterized.parameters(
      ("--guidance=1", "guidance is 1.0, but the transporter reads the condition"),
      ("--steps=3", "num_steps is 3, but the model was trained for 2 steps"),
      ("--refine=denoiser", "refine is 'denoiser', but this model has none"))
  def test_what_the_model_does_not_support_is_refused_before_any_work(self, flag, message):
    workdir = pathlib.Path(tempfile.mkdtemp())
    runs.write(workdir, runs.config(transporter=_READS_CLASS))
    with mock.patch.object(pipeline, "evaluation_data") as read:
      code, stderr = runs.call("evaluate", f"--workdir={workdir}", flag)
    self.assertEqual(code, 1)
    self.assertRegex(stderr, f"(?m)^error: {message}")
    read.assert_not_called()

  @pytest.mark.slow
  def test_endless_digits(self):
    workdir = pathlib.Path(tempfile.mkdtemp())
    runs.write(workdir, dataclasses.replace(
        runs.config(), data=config_lib.DataConfig(augment=True)))
    processes.ntm("evaluate", f"--workdir={workdir}", f"--json={workdir / 'result.json'}",
                  "--num_samples=500", "--draws=1")
    result = json.loads((workdir / "result.json").read_text())
    # The real draws do not depend on the model.
    self.assertAlmostEqual(result["fresh_class_accuracy"], 0.97, delta=0.02)
    self.assertBetween(result["fresh_frechet_distance"], 1, 5)  # Of 500.
    self.assertGreater(result["frechet_distance"], 20)  # Of an untrained model.
    self.assertGreater(result["frechet_standard_error"], 0)
    self.assertLen(result["train_nll_per_step"], 2)
    code, stderr = runs.call("likelihood", f"--workdir={workdir}")
    self.assertEqual(code, 1)
    self.assertIn("error: config.data.augment is True, and interpolated", stderr)

  def _captioned(self):
    """(a directory with the run RUN of pictures with captions, the run's config)."""
    root = pathlib.Path(tempfile.mkdtemp())
    (root / "images").mkdir()
    for i in range(6):
      encoding.picture(i).save(root / "images" / f"{i}.png")
      (root / "images" / f"{i}.txt").write_text(f"a {('red', 'blue', 'small')[i % 3]} ring")
    config = runs.config(
        num_classes=0, image_shape=(8, 8, 3), backbone={"text_tokens": 8, "vocab_size": 54},
        kind="flow_matching", text={"tokenizer": "scenes"},
        data={"source": "folder", "path": str(root / "images"), "test_fraction": 0.5})
    runs.write(root / "run", config)
    return root, config

  def test_captions_of_other_pictures_need_features(self):
    root, _ = self._captioned()
    code, stderr = runs.call("evaluate", f"--workdir={root / 'run'}")
    self.assertEqual(code, 1)
    self.assertRegex(stderr, "(?m)^error: the data have no images of two or more classes, .*; "
                             "expected --features=DIRECTORY")

  def _assert_clip_scores(self, root, config, count):
    """The result in e.json is of the pictures in out.npz with their captions, and of real ones."""
    result, score = json.loads((root / "e.json").read_text()), Clip(str(root / "clip"))
    self.assertContainsSubset(score.record, result)
    with np.load(root / "out.npz") as file:
      found = score(file["arr_0"], drawing.labels(config, "uniform", count)[0])
    self.assertContainsSubset(found.figures(), result)
    source = CaptionedFolder(config.data.path, "test", config.model.image_shape, 0.5)
    real = score(np.stack([source[i]["image"] for i in range(3)]),
                 [source[i]["caption"] for i in range(3)])
    self.assertAlmostEqual(result["real_clip_score"], real.values.mean(), places=4)
    self.assertEqual((result["clip_num_pictures"], result["real_clip_num_pictures"]), (count, 3))
    self.assertNotIn("frechet_distance", result)

  def test_samples_are_scored_with_their_captions(self):
    tiny_clip = pytest.importorskip("tests.helpers.tiny_clip")
    root, config = self._captioned()
    flags = [f"--workdir={root / 'run'}", "--num_samples=7", "--steps=2", "--export=adm",
             f"--output={root / 'out'}", f"--json={root / 'e.json'}"]
    code, stderr = runs.call("evaluate", *flags, f"--clip={root / 'clip'}")
    self.assertEqual(code, 1)
    self.assertRegex(stderr, "(?m)^error: --clip is .*/clip, which does not exist; expected the")
    self.assertNotIn("reading images", stderr)
    self.assertNotIn("drawing", stderr)
    tiny_clip.save(root / "clip")
    code, stderr = runs.call("evaluate", *flags, f"--clip={root / 'clip'}")
    self.assertEqual(code, 0, stderr)
    self._assert_clip_scores(root, config, 7)

  @pytest.mark.slow
  def test_of_two_processes_one_scores_the_samples_of_both(self):
    tiny_clip = pytest.importorskip("tests.helpers.tiny_clip")
    root, config = self._captioned()
    flags = ["evaluate", f"--workdir={root / 'run'}", "--num_samples=7", "--steps=2",
             "--export=adm", f"--output={root / 'out'}", f"--json={root / 'e.json'}",
             f"--clip={root / 'clip'}"]
    with self.assertRaisesRegex(AssertionError, "--clip is .*/clip, which does not exist"):
      processes.launched(*flags)
    tiny_clip.save(root / "clip")
    processes.launched(*flags)
    self._assert_clip_scores(root, config, 7)

  def test_how_different_samples_of_a_class_are(self):
    tiny_lpips = pytest.importorskip("tests.helpers.tiny_lpips")
    root, pixels = pathlib.Path(tempfile.mkdtemp()), np.random.default_rng(0)
    for label in range(2):
      (root / "images" / str(label)).mkdir(parents=True)
      for i in range(20):
        Image.fromarray(pixels.integers(0, 256, (32, 32, 3), np.uint8)).save(
            root / "images" / str(label) / f"{i:02}.png")
    config = runs.config(kind="flow_matching", image_shape=(32, 32, 3), patch_shape=(16, 16),
                         num_classes=2, data={"source": "folder", "path": str(root / "images"),
                                              "test_fraction": 0.3})
    runs.write(root / "run", config)
    with tiny_lpips.cached("alex"):
      code, stderr = runs.call(
          "evaluate", f"--workdir={root / 'run'}", "--num_samples=10", "--steps=2", "--lpips=alex",
          "--export=adm", "--features=classifier", f"--output={root / 'out'}",
          f"--json={root / 'e.json'}")
      self.assertEqual(code, 0, stderr)
      distance = Lpips("alex")
    result = json.loads((root / "e.json").read_text())
    with np.load(root / "out.npz") as file:
      samples = file["arr_0"].reshape(5, 2, 32, 32, 3)
    pairs = [(samples[i, label], samples[i + 1, label]) for i in (0, 2) for label in range(2)]
    self.assertAlmostEqual(result["lpips_diversity"],
                           distance(*map(np.stack, zip(*pairs))).mean(), places=5)
    self.assertEqual((result["lpips_num_pairs"], result["lpips_pairs"]), (4, "the same class"))
    self.assertGreater(result["real_lpips_diversity"], 0)

  @pytest.mark.slow
  def test_scenes_by_their_captions(self):
    tiny_clip = pytest.importorskip("tests.helpers.tiny_clip")
    workdir = pathlib.Path(tempfile.mkdtemp())
    tiny_clip.save(workdir / "clip")
    runs.write(workdir, runs.config(
        num_classes=0, image_shape=(32, 32, 3), patch_shape=(16, 16),
        backbone={"text_tokens": 16, "vocab_size": 54}, data={"source": "scenes"},
        text={"tokenizer": "scenes"}))
    processes.ntm("evaluate", f"--workdir={workdir}", f"--json={workdir / 'result.json'}",
                  "--num_samples=60", "--draws=1", "--refine=none", f"--clip={workdir / 'clip'}")
    result = json.loads((workdir / "result.json").read_text())
    self.assertEqual(result["score"], 0)  # Of an untrained model.
    self.assertLess(result["unseen_score_colour_attribution"], 1)
    self.assertGreater(result["frechet_distance"], 2 * result["fresh_frechet_distance"])
    self.assertLen(result["nll_per_step"], 2)
    images, scenes = Scenes("unseen").batch(range(60))
    real = Clip(str(workdir / "clip"))(images, [scene.caption for scene in scenes])
    self.assertAlmostEqual(result["unseen_real_clip_score"], real.values.mean(), places=4)
    self.assertGreater(abs(result["unseen_clip_score"] - result["unseen_real_clip_score"]), 0.01)
    self.assertEqual({result[f"{name}clip_num_pictures"]
                      for name in ("", "real_", "unseen_", "unseen_real_")}, {60})

  @parameterized.parameters("ntm", "flow_matching")
  @pytest.mark.slow
  def test_data_of_known_density(self, kind):
    workdir = pathlib.Path(tempfile.mkdtemp())
    runs.write(workdir, dataclasses.replace(
        runs.config(kind=kind, image_shape=(2, 1), patch_shape=(1,), num_classes=0),
        data=config_lib.DataConfig(source="mixture")))
    result_file = workdir / "result.json"
    code, stderr = runs.call("evaluate", f"--workdir={workdir}", f"--json={result_file}",
                             "--num_samples=1000", *(["--draws=1"] if kind == "ntm" else []))
    self.assertEqual(code, 0, stderr)
    result = json.loads(result_file.read_text())
    self.assertAlmostEqual(result["exact_in_mode_share"], 0.989, delta=0.02)
    self.assertLess(result["in_mode_share"], 0.5)  # Of an untrained model.
    self.assertGreater(result["grid_total_variation"], result["exact_grid_total_variation"])
    self.assertNotIn("train_nll_nats_per_dim", result)  # All draws are fresh.
    if kind == "ntm":
      self.assertRegex(stderr, "scoring 10000 draws of the data")
      self.assertAlmostEqual(np.mean(result["nll_per_step"]), result["nll_nats_per_dim"], places=6)
      self.assertAlmostEqual(result["gaussian_kl_nats"], 2.457, delta=0.05)  # docs/truth.md.
      self.assertGreater(result["kl_to_truth_nats"], result["gaussian_kl_nats"])
      self.assertAlmostEqual(sum(result["kl_per_step"]), result["kl_to_truth_nats"], places=5)
    else:
      self.assertNotIn("kl_to_truth_nats", result)
    for flag in ("--refine=score", "--features=classifier"):
      code, stderr = runs.call("evaluate", f"--workdir={workdir}", flag)
      self.assertEqual(code, 1)
      self.assertRegex(stderr, f"(?m)^error: .*{flag.partition('=')[0]}")


if __name__ == "__main__":
  absltest.main()
