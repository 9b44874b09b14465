"""`ntm evaluate` measures the likelihood and the samples of a run."""

import json
import pathlib
import tempfile

import numpy as np
import pytest
from absl.testing import absltest

from tests.helpers import processes, runs


class EvaluateTest(absltest.TestCase):

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
    self.assertLen(result["nll_per_step"], 2)
    self.assertAlmostEqual(np.mean(result["nll_per_step"]), result["nll_nats_per_dim"], places=6)
    # The real test digits do not depend on the model.
    self.assertAlmostEqual(result["test_class_accuracy"], 0.93, delta=0.02)

  @pytest.mark.slow
  def test_figures_that_are_not_finite_are_not_written(self):
    workdir = processes.diverged()
    code, stderr = runs.call("evaluate", f"--workdir={workdir}", f"--json={workdir / 'e.json'}")
    self.assertEqual(code, 1)
    self.assertRegex(stderr, "(?m)^error: 2000 of 2000 samples hold NaN or infinite numbers")
    self.assertFalse((workdir / "e.json").exists())


if __name__ == "__main__":
  absltest.main()
