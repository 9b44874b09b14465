"""Small random autoencoders of diffusers, and ours with the same weights."""

import pathlib
import tempfile

import safetensors.torch
import torch
from diffusers import AutoencoderKL, AutoencoderKLFlux2

from ntm.conversion import converter, families
from ntm.conversion.source_files import open_source
from ntm.published.autoencoders import mapping_kl
from ntm.published.autoencoders import model as autoencoder

_SMALL = dict(block_out_channels=(32, 64), layers_per_block=1)

# Class of diffusers, family, and arguments of the class.
MODELS = {
    "kl": (AutoencoderKL, "autoencoder_kl", dict(latent_channels=4, **_SMALL)),
    "kl_plain": (AutoencoderKL, "autoencoder_kl", dict(
        latent_channels=6, block_out_channels=(32, 64, 32), layers_per_block=2,
        use_quant_conv=False, use_post_quant_conv=False, mid_block_add_attention=False)),
    "flux2": (AutoencoderKLFlux2, "autoencoder_flux2", dict(latent_channels=8, **_SMALL)),
}


def theirs(which):
  """A small random model of diffusers, no tensor of it trivial."""
  cls, _, kwargs = MODELS[which]
  levels = len(kwargs["block_out_channels"])
  torch.manual_seed(0)
  model = cls(down_block_types=("DownEncoderBlock2D",) * levels,
              up_block_types=("UpDecoderBlock2D",) * levels, **kwargs).eval()
  for name, tensor in model.state_dict().items():
    if "running_var" in name:
      tensor.copy_(0.2 + torch.rand_like(tensor))
    elif "norm" in name or "bias" in name or "running_mean" in name:
      tensor.add_(0.3 * torch.randn_like(tensor))
    elif "num_batches" in name:
      tensor.fill_(7)
  return model


def converted(which, state):
  """The directory with these weights, converted."""
  directory = pathlib.Path(tempfile.mkdtemp())
  safetensors.torch.save_file(state, directory / "model.safetensors")
  converter.convert(families.get(MODELS[which][1]), directory, directory / "ours")
  return directory / "ours"


def ours(which, state):
  """The same weights, converted: (module, variables)."""
  name, architecture, params = converter.load(converted(which, state))
  assert name == MODELS[which][1]
  return autoencoder.Autoencoder(mapping_kl.config(architecture)), {"params": params}


def assert_there_and_back(test, which):
  """A file is recognised as of its family alone, and is the same after convert and export."""
  directory = pathlib.Path(test.enterContext(tempfile.TemporaryDirectory()))
  source, back = directory / "model.safetensors", directory / "back.safetensors"
  safetensors.torch.save_file(theirs(which).state_dict(), source)
  family = MODELS[which][1]
  test.assertEqual(families.matching(open_source(source).shapes), [family])
  converter.convert(families.get(family), source, directory / "ours")
  converter.export(directory / "ours", back)
  test.assertEqual(source.read_bytes(), back.read_bytes())
