"""`ntm train` leaves a run; what it refuses is in test_refusals, signals in training/test_loop."""

import json
import pathlib
import tempfile
from unittest import mock

import jax
from absl.testing import absltest

import ntm
from ntm.commands import train
from ntm.nn import partitioning
from tests.helpers import runs, tiny_autoencoder


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

  def test_a_source_of_other_latents_is_refused(self):
    workdir = pathlib.Path(tempfile.mkdtemp()) / "run"
    runs.write(workdir, tiny_autoencoder.config(model__kind="flow_matching", mesh__data=-1))
    config = tiny_autoencoder.config(
        model__predictor__output="velocity", model__predictor__reads_noise=True,
        process__t_min_low=0.01, finetune__source=str(workdir))
    mesh = partitioning.make_mesh(config.mesh, jax.devices()[:1])
    self.assertIsNotNone(train._source(config, mesh))
    record = json.loads((workdir / "frozen.json").read_text())
    record["autoencoder"] |= {"path": "elsewhere", "checksum": 1}
    (workdir / "frozen.json").write_text(json.dumps(record))
    with self.assertRaisesRegex(ValueError, "was trained with another, elsewhere"):
      train._source(config, mesh)


if __name__ == "__main__":
  absltest.main()
