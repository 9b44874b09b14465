"""`ntm likelihood --compress` and `--decompress`: images, through a file, and back."""

import contextlib
import io
import json
import pathlib
import tempfile
from unittest import mock

import numpy as np
import pytest
from absl.testing import absltest
from PIL import Image

from ntm import api
from ntm.commands import compressed_file
from ntm.data import pipeline
from ntm.likelihood import compression
from tests.helpers import runs


def _run(**model):
  """(the workdir of a tiny run, its config)."""
  workdir, config = pathlib.Path(tempfile.mkdtemp()) / "run", runs.config(**model)
  runs.write(workdir, config)
  return workdir, config


class CompressedFileTest(absltest.TestCase):

  def test_test_images_come_back_and_other_files_and_models_are_refused(self):
    workdir, config = _run()
    root = workdir.parent
    file, json_path = root / "new" / "images.ntm", root / "figures.json"
    code, stderr = runs.call("likelihood", f"--workdir={workdir}", f"--compress={file}", "--num=3",
                             f"--json={json_path}", "--seed=1")
    self.assertEqual(code, 0, stderr)
    self.assertEqual([path.name for path in file.parent.iterdir()], ["images.ntm"])
    figures = json.loads(json_path.read_text())
    self.assertEqual((figures["images"], figures["num_steps"], figures["checkpoint"]), (3, 2, 3))
    self.assertTrue(figures["equal"])
    self.assertEqual(figures["file_bits"], 8 * file.stat().st_size)
    self.assertLess(figures["longer_by"], 1e-3)  # Shorter: images far out in the tails.
    code, stderr = runs.call("likelihood", f"--workdir={workdir}", f"--decompress={file}")
    self.assertEqual(code, 0, stderr)
    test = pipeline.evaluation_data(config, 3)[1]
    arrays = np.load(workdir / "decompressed.npz")
    np.testing.assert_array_equal(arrays["images"], test["image"])
    np.testing.assert_array_equal(arrays["labels"], test["label"])
    picture = np.asarray(Image.open(workdir / "decompressed.png"))
    self.assertEqual(picture.shape, (2 * 50, 2 * 50))  # Three images and a blank.
    self.assertTrue((picture[51:99, 51:99] == 255).all())
    self._refused(file, workdir)

  def _refused(self, file, workdir):
    damaged, data = file.with_name("damaged.ntm"), file.read_bytes()
    damaged.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    other, _ = _run(num_classes=0)
    for run, path, message in ((workdir, damaged, "the compressed images are damaged, or not"),
                               (other, file, "the images were compressed by another model")):
      before = runs.tree(run)
      code, stderr = runs.call("likelihood", f"--workdir={run}", f"--decompress={path}")
      self.assertEqual(code, 1)
      self.assertRegex(stderr, f"(?m)^error: {message}")
      self.assertEqual(runs.tree(run), before)

  @pytest.mark.slow
  def test_a_file_that_does_not_come_back_is_not_written(self):
    workdir, config = _run(num_classes=0)
    model, path = api.restore_density(workdir), workdir / "images.ntm"
    images = pipeline.evaluation_data(config, 2)[1]["image"]
    write = lambda: compressed_file.write(str(path), model, images, None, 2, 0.125, 0)
    before = runs.tree(workdir)
    with (mock.patch.object(compression, "compress", lambda *_: (b"code", {})),
          mock.patch.object(compression, "decompress", lambda *_: (images[::-1], None)),
          self.assertRaisesRegex(ValueError, "images.ntm did not come back as they were")):
      write()
    self.assertEqual(runs.tree(workdir), before)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
      figures = write()
    self.assertRegex(printed.getvalue(), f"{figures['bits_per_dim']:.4f}")
    self.assertRegex(printed.getvalue(), "bytes, which decode to the same images[.]")
    compressed_file.write_images(str(workdir / "out"), model, compressed_file.read(str(path)))
    self.assertEqual(np.load(workdir / "out.npz").files, ["images"])


if __name__ == "__main__":
  absltest.main()
