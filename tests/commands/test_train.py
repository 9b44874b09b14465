"""`ntm train` leaves a run; what it refuses is in test_refusals, signals in training/test_loop."""

import pathlib
import tempfile
from unittest import mock

import jax
from absl.testing import absltest

import ntm
from tests.helpers import runs


class TrainTest(absltest.TestCase):

  def test_trains_and_leaves_a_run(self):
    root = pathlib.Path(tempfile.mkdtemp())
    workdir = root / "run"
    runs.write_config(root / "tiny.py")
    one = jax.devices()[:1]
    with mock.patch.object(jax, "devices", lambda: one):
      code, log = runs.call("train", f"--config={root / 'tiny.py'}", f"--workdir={workdir}",
                            "--config.train.steps=3")
    self.assertEqual(code, 0, log)
    self.assertIn("step 3 of 3", log)
    self.assertIn("left", log)
    model = ntm.restore(workdir)
    self.assertEqual((model.step, model.config.model.predictor.width), (3, 8))
    for name in ("metrics.jsonl", "curves.png", "config.json", "samples/refined_0000003.png"):
      self.assertTrue((workdir / name).exists(), name)


if __name__ == "__main__":
  absltest.main()
