"""The commands as users run them: one process each, on a tiny model of the digits."""

import functools
import json
import os
import pathlib
import runpy
import subprocess
import sys
import tempfile

import jax
import numpy as np
import pytest
from absl.testing import absltest
from PIL import Image

from ntm import config as config_lib
from ntm.losses import task
from ntm.nn import partitioning
from ntm.training import checkpoint
from ntm.training import state as state_lib
from ntm.training import workdir as workdir_lib

_ROOT = pathlib.Path(__file__).parents[2]
_TINY = ["--config.model.predictor.width=16", "--config.model.transporter.width=16",
         "--config.model.predictor.layers=1", "--config.model.transporter.num_blocks=1",
         "--config.model.unroll=1", "--config.optimizer.warmup_steps=0", "--config.train.steps=3"]
# One device; programs that run a few times are compiled in a hurry, as by conftest.py.
_ENV = os.environ | {"XLA_FLAGS": " ".join(
    flag for flag in os.environ.get("XLA_FLAGS", "").split() if "device_count" not in flag)}
_ENV["OPENBLAS_NUM_THREADS"] = "1"  # The classifier is so small that threads only wait.


def _ntm(*arguments, check=True):
  done = subprocess.run([sys.executable, "-m", "ntm.commands.main", *map(str, arguments)],
                        capture_output=True, text=True, env=_ENV, cwd=_ROOT)
  if check:
    assert done.returncode == 0, done.stdout + done.stderr
  return done


def _train(workdir, *flags, check=True):
  return _ntm("train", "--config=configs/digits.py", f"--workdir={workdir}", *_TINY, *flags,
              check=check)


class CommandsTest(absltest.TestCase):

  def test_train_sample_evaluate(self):
    workdir = pathlib.Path(tempfile.mkdtemp())
    log = _train(workdir).stderr
    self.assertIn("step 3 of 3", log)
    self.assertIn("left", log)

    _ntm("sample", f"--workdir={workdir}", "--labels=7,1", "--num=3", "--guidance=0.5",
         "--output", workdir / "two.5")
    arrays = np.load(workdir / "two.5.npz")
    self.assertEqual(arrays["images"].shape, (6, 8, 8, 1))
    self.assertEqual(arrays["labels"].tolist(), [7, 7, 7, 1, 1, 1])
    self.assertEqual(Image.open(workdir / "two.5.png").size, (3 * 50, 2 * 50))

    _ntm("evaluate", f"--workdir={workdir}", f"--json={workdir / 'result.json'}",
         "--num_samples=64", "--draws=1")
    result = json.loads((workdir / "result.json").read_text())
    self.assertContainsSubset(
        {"nll_nats_per_dim", "nll_per_step", "class_accuracy", "frechet_distance", "num_steps",
         "num_samples", "precision", "recall", "train_nll_nats_per_dim",
         "test_frechet_distance"}, result)
    self.assertLen(result["nll_per_step"], 4)
    self.assertAlmostEqual(np.mean(result["nll_per_step"]), result["nll_nats_per_dim"], places=6)
    # The real test digits do not depend on the model.
    self.assertAlmostEqual(result["test_class_accuracy"], 0.93, delta=0.02)

    again = _ntm("sample", f"--workdir={workdir}", "--labels=12", check=False)
    self.assertEqual(again.returncode, 1)
    self.assertIn("error: label 12 is out of range; classes are 0 to 9.", again.stderr)

  @pytest.mark.slow
  def test_endless_digits(self):
    workdir = pathlib.Path(tempfile.mkdtemp())
    _train(workdir, "--config.data.augment=true")
    _ntm("evaluate", f"--workdir={workdir}", f"--json={workdir / 'result.json'}",
         "--num_samples=500", "--draws=1")
    result = json.loads((workdir / "result.json").read_text())
    # The real draws do not depend on the model.
    self.assertAlmostEqual(result["fresh_class_accuracy"], 0.97, delta=0.02)
    self.assertBetween(result["fresh_frechet_distance"], 1, 5)  # Of 500.
    self.assertGreater(result["frechet_distance"], 20)  # Of an untrained model.
    self.assertGreater(result["frechet_standard_error"], 0)
    self.assertLen(result["train_nll_per_step"], 4)
    refused = _ntm("likelihood", f"--workdir={workdir}", check=False)
    self.assertIn("error: config.data.augment is True, and interpolated", refused.stderr)

  def _diverged(self):
    """The workdir of a model whose averaged parameters hold a NaN."""
    workdir = pathlib.Path(tempfile.mkdtemp())
    values = runpy.run_path(str(_ROOT / "configs" / "digits.py"))["get_config"]()
    for flag in _TINY:
      path, value = flag.removeprefix("--config.").split("=")
      *sections, last = path.split(".")
      functools.reduce(getattr, sections, values)[last] = int(value)
    config = config_lib.from_dict(values)
    workdir_lib.prepare(workdir, config)
    run, mesh = task.density(config), partitioning.make_mesh(config.mesh, jax.devices()[:1])
    state = state_lib.init_state(run, config, mesh)
    checkpointer = checkpoint.Checkpointer(workdir, config)
    checkpointer.save(state.replace(ema=jax.tree.map(lambda a: a * np.nan, state.ema)), {}, {},
                      wait=True)
    checkpointer.close()
    return workdir

  def _assert_refused(self, done, text):
    self.assertEqual(done.returncode, 1, done.stderr)
    self.assertRegex(done.stderr, rf"(?m)^error: {text} hold NaN or infinite numbers and are not")
    self.assertNotIn("Traceback", done.stderr)

  def test_samples_that_are_not_finite_are_not_written(self):
    workdir = self._diverged()
    self._assert_refused(_ntm("sample", f"--workdir={workdir}", "--labels=7,1", "--num=3",
                              check=False), "6 of 6 images")
    self.assertFalse((workdir / "samples").exists())

  @pytest.mark.slow
  def test_figures_that_are_not_finite_are_not_written(self):
    workdir = self._diverged()
    self._assert_refused(_ntm("evaluate", f"--workdir={workdir}", "--json", workdir / "e.json",
                              check=False), "2000 of 2000 samples")
    self._assert_refused(_ntm("likelihood", f"--workdir={workdir}", "--draws=1", check=False),
                         r"(\d+) of \1 test images' weights")
    self.assertEqual([path.name for path in workdir.iterdir() if path.suffix != ".json"],
                     ["checkpoints"])
    self.assertFalse((workdir / "e.json").exists())

  @pytest.mark.slow
  def test_likelihood_and_distill(self):
    workdir = pathlib.Path(tempfile.mkdtemp())
    _train(workdir)
    _ntm("likelihood", f"--workdir={workdir}", "--draws=2", f"--compare={workdir}")
    result = json.loads((workdir / "likelihood.json").read_text())
    self.assertEqual(result["compare"]["nats_per_image"], 0)  # A model against itself.
    self.assertLessEqual(result["bits_per_dim"]["2"]["mean"], result["bits_per_dim"]["1"]["mean"])
    self.assertLen(result["calibration"], 4)
    self.assertContainsSubset({"inverted", "photographs"}, result["auroc"])
    self.assertEqual(Image.open(workdir / "likelihood_spread.png").size, (10 * 50, 13 * 50))
    rows = (workdir / "likelihood.csv").read_text().splitlines()
    self.assertLen(rows, 1 + 5 * result["images"])

    _ntm("distill", "--config=configs/digits_denoiser.py", f"--teacher={workdir}",
         "--config.denoiser.width=16", "--config.optimizer.warmup_steps=0",
         "--config.train.steps=3")
    _ntm("sample", f"--workdir={workdir}", "--labels=3", "--num=2", "--refine=denoiser",
         "--output", workdir / "fast")
    self.assertEqual(np.load(workdir / "fast.npz")["images"].shape, (2, 8, 8, 1))

  def test_mistakes_end_with_one_line(self):
    workdir = tempfile.mkdtemp()
    for done, text in (
        (_train("/dev/null/run", check=False), "workdir /dev/null/run cannot be written"),
        (_train(workdir, "--config.model.num_classes=3", check=False), "num_classes is 3"),
        (_train(workdir, "--config.train.batch_size=9", "--config.train.grad_accumulation_steps=2",
                check=False), "grad_accumulation_steps is 2"),
        (_ntm("sample", f"--workdir={workdir}/none", check=False), "holds no config.json"),
        (_ntm("trian", check=False), "did you mean 'train'?")):
      self.assertNotEqual(done.returncode, 0)
      self.assertIn(text, done.stderr)
      self.assertNotIn("Traceback", done.stderr)
    typo = _train(workdir, "--config.train.batchsize=9", check=False)
    self.assertIn("batch_size", typo.stderr + typo.stdout)


if __name__ == "__main__":
  absltest.main()
