"""`ntm sample` as users run it."""

import pathlib
import tempfile

import numpy as np
from absl.testing import absltest
from PIL import Image

from tests.helpers import processes, runs, tiny_autoencoder


class SampleTest(absltest.TestCase):

  def test_rows_are_the_labels(self):
    workdir = pathlib.Path(tempfile.mkdtemp())
    runs.write(workdir, runs.config())
    processes.ntm("sample", f"--workdir={workdir}", "--labels=7,1", "--num=3", "--guidance=0.5",
                  "--output", workdir / "two.5")
    arrays = np.load(workdir / "two.5.npz")
    self.assertEqual(arrays["images"].shape, (6, 8, 8, 1))
    self.assertEqual(arrays["labels"].tolist(), [7, 7, 7, 1, 1, 1])
    self.assertEqual(Image.open(workdir / "two.5.png").size, (3 * 50, 2 * 50))

  def test_latents_are_decoded_to_a_picture(self):
    workdir = pathlib.Path(tempfile.mkdtemp()) / "run"
    runs.write(workdir, tiny_autoencoder.config("kl", model__kind="flow_matching"))
    code, stderr = runs.call("sample", f"--workdir={workdir}", "--labels=2,0", "--num=3",
                             "--steps=2")
    self.assertEqual(code, 0, stderr)
    images = np.load(workdir / "samples" / "sample.npz")["images"]
    self.assertEqual(images.shape, (6, 8, 8, 3))
    self.assertLessEqual(np.abs(images).max(), 1)
    self.assertEqual(Image.open(workdir / "samples" / "sample.png").size, (3 * 50, 2 * 50))

  def test_samples_that_are_not_finite_are_not_written(self):
    workdir = processes.diverged()
    code, stderr = runs.call("sample", f"--workdir={workdir}", "--labels=7,1", "--num=3")
    self.assertEqual(code, 1)
    self.assertRegex(stderr, "(?m)^error: 6 of 6 images hold NaN or infinite numbers and are not")
    self.assertFalse((workdir / "samples").exists())


if __name__ == "__main__":
  absltest.main()
