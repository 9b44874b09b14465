"""`ntm distill`, and sampling by the denoiser that it leaves with its teacher."""

import pathlib
import tempfile

import numpy as np
import pytest
from absl.testing import absltest

from tests.helpers import processes, runs


@pytest.mark.slow
class DistillTest(absltest.TestCase):

  def test_a_denoiser_is_found_by_its_teacher(self):
    workdir = pathlib.Path(tempfile.mkdtemp())
    runs.write(workdir, runs.config())
    processes.ntm("distill", "--config=configs/digits_denoiser.py", f"--teacher={workdir}",
                  "--config.denoiser.width=16", "--config.optimizer.warmup_steps=0",
                  "--config.train.steps=3")
    processes.ntm("sample", f"--workdir={workdir}", "--labels=3", "--num=2", "--refine=denoiser",
                  "--output", workdir / "fast")
    self.assertEqual(np.load(workdir / "fast.npz")["images"].shape, (2, 8, 8, 1))


if __name__ == "__main__":
  absltest.main()
