"""`ntm likelihood` bounds, compares and scores."""

import json
import pathlib
import tempfile
from unittest import mock

import pytest
from absl.testing import absltest
from PIL import Image

from ntm.data import pipeline
from tests.helpers import processes, runs


class RefusalTest(absltest.TestCase):

  def test_a_model_of_captions_in_a_folder_is_refused(self):
    workdir = pathlib.Path(tempfile.mkdtemp()) / "run"
    runs.write(workdir, runs.config(
        num_classes=0, image_shape=(8, 8, 3), backbone={"text_tokens": 8, "vocab_size": 54},
        data={"source": "folder", "path": "/nowhere"}, text={"tokenizer": "scenes"}))
    code, stderr = runs.call("likelihood", f"--workdir={workdir}")
    self.assertEqual(code, 1)
    self.assertRegex(stderr, "(?m)^error: .*run holds a model conditioned on texts; expected one")

  def test_steps_that_the_model_was_not_trained_for_are_refused_before_any_work(self):
    workdir = pathlib.Path(tempfile.mkdtemp())
    runs.write(workdir, runs.config())
    with mock.patch.object(pipeline, "evaluation_data") as read:
      code, stderr = runs.call("likelihood", f"--workdir={workdir}", "--steps=3")
    self.assertEqual(code, 1)
    self.assertRegex(stderr, "(?m)^error: num_steps is 3, but the model was trained for 2 steps")
    read.assert_not_called()


@pytest.mark.slow
class LikelihoodTest(absltest.TestCase):

  def test_all_files_are_written(self):
    workdir, out = processes.trained(), pathlib.Path(tempfile.mkdtemp()) / "likelihood"
    figures = out.parent / "new" / "figures.json"
    processes.ntm("likelihood", f"--workdir={workdir}", "--draws=2", f"--compare={workdir}",
                  f"--output={out}", "--classify=1", f"--json={figures}")
    self.assertFalse(out.with_suffix(".json").exists())
    result = json.loads(figures.read_text())
    self.assertEqual(result["compare"]["nats_per_image"], 0)  # A model against itself.
    self.assertLessEqual(result["bits_per_dim"]["2"]["mean"], result["bits_per_dim"]["1"]["mean"])
    self.assertLen(result["calibration"], 4)
    self.assertEqual(result["classification"]["draws"], 1)
    self.assertBetween(result["classification"]["accuracy"], 0, 1)
    self.assertContainsSubset({"inverted", "photographs"}, result["auroc"])
    self.assertEqual(Image.open(f"{out}_spread.png").size, (10 * 50, 13 * 50))
    rows = out.with_suffix(".csv").read_text().splitlines()
    self.assertLen(rows, 1 + 5 * result["images"])

  def test_figures_that_are_not_finite_are_not_written(self):
    workdir = processes.diverged()
    done = processes.ntm("likelihood", f"--workdir={workdir}", "--draws=1", check=False)
    self.assertEqual(done.returncode, 1)
    self.assertRegex(done.stderr, r"(?m)^error: (\d+) of \1 test images' weights hold NaN or inf")
    self.assertNotIn("Traceback", done.stderr)
    self.assertEqual([path.name for path in workdir.iterdir() if path.suffix != ".json"],
                     ["checkpoints"])


if __name__ == "__main__":
  absltest.main()
