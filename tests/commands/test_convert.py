"""`ntm convert` as users run it; what it refuses is in test_refusals."""

import os
import pathlib
import subprocess
import sys
import tempfile

import safetensors.torch
import torch
from absl.testing import absltest
from diffusers import AutoencoderKL

from tests.helpers import runs

_ROOT = pathlib.Path(__file__).parents[2]


def _convert(*arguments):
  env = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
  return subprocess.run([sys.executable, "-m", "ntm.commands.main", "convert",
                         *map(str, arguments)],
                        capture_output=True, text=True, env=env, cwd=_ROOT)


class ConvertTest(absltest.TestCase):

  def test_there_and_back(self):
    directory = pathlib.Path(tempfile.mkdtemp())
    source, ours = directory / "model.safetensors", directory / "ours"
    torch.manual_seed(0)
    model = AutoencoderKL(block_out_channels=(32,), latent_channels=4)
    safetensors.torch.save_file(model.bfloat16().state_dict(), source, {"format": "pt"})
    flags = ["--family=autoencoder_kl", f"--source={source}", f"--target={ours}"]

    done = _convert(*flags, "--dry_run")
    self.assertEqual(done.returncode, 0, done.stderr)
    self.assertIn("quant_conv.weight [8, 8, 1, 1] bfloat16 → moments_conv/kernel [1, 1, 8, 8] "
                  "bfloat16\n", done.stdout)
    self.assertFalse(ours.exists())

    code, stderr = runs.call("convert", *flags)
    self.assertEqual(code, 0, stderr)
    self.assertRegex(stderr, r"ours: autoencoder_kl, \d+\.\d\d GB\n$")

    back = directory / "back.safetensors"
    code, stderr = runs.call("convert", "--export", f"--source={ours}", f"--target={back}")
    self.assertEqual(code, 0, stderr)
    self.assertEqual(back.read_bytes(), source.read_bytes())


if __name__ == "__main__":
  absltest.main()
