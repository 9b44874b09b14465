"""`ntm train` as users run it; what it refuses is in test_refusals."""

import pathlib
import tempfile

from absl.testing import absltest

import ntm
from tests.helpers import processes


class TrainTest(absltest.TestCase):

  def test_trains_and_leaves_a_run(self):
    workdir = pathlib.Path(tempfile.mkdtemp()) / "run"
    log = processes.train(workdir)
    self.assertIn("step 3 of 3", log)
    self.assertIn("left", log)
    model = ntm.restore(workdir)
    self.assertEqual((model.step, model.config.model.predictor.width), (3, 16))
    for name in ("metrics.jsonl", "curves.png", "config.json", "samples/refined_0000003.png"):
      self.assertTrue((workdir / name).exists(), name)


if __name__ == "__main__":
  absltest.main()
