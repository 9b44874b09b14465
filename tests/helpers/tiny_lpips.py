"""Random weights of LPIPS's networks where torchvision keeps downloaded ones; skips without lpips.

It is skipped too where torchvision was made for another build of PyTorch and cannot be imported.
"""

import functools
import os
import pathlib
import tempfile
from unittest import mock

import pytest

torch = pytest.importorskip("torch")
try:
  import lpips
  import torchvision
except (ImportError, RuntimeError) as error:
  pytest.skip(f"lpips cannot be imported: {error}", allow_module_level=True)

FILES = {"alex": "alexnet-owt-7be5be79.pth", "vgg": "vgg16-397923af.pth",
         "squeeze": "squeezenet1_1-b8a52dc0.pth"}
_MODELS = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}


@functools.cache
def cache(*networks: str) -> str:
  """A TORCH_HOME with random weights of these networks."""
  root = pathlib.Path(tempfile.mkdtemp())
  (root / "hub" / "checkpoints").mkdir(parents=True)
  for network in networks:
    torch.manual_seed(0)
    model = getattr(torchvision.models, _MODELS[network])(weights=None)
    torch.save(model.state_dict(), root / "hub" / "checkpoints" / FILES[network])
  return str(root)


def cached(*networks: str):
  """While active, torchvision finds these weights, and no others."""
  return mock.patch.dict(os.environ, {"TORCH_HOME": cache(*networks)})


def theirs(network: str):
  """The package's own distance of those weights."""
  with cached(network):
    return lpips.LPIPS(net=network, verbose=False)
