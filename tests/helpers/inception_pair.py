"""FID's Inception of torch-fidelity and pytorch-fid with random weights, and ours with the same."""

import functools
import importlib.util
import pathlib
import sys
import tempfile
import types
from unittest import mock

import numpy as np
import pytest

from ntm.conversion import converter, families

torch = pytest.importorskip("torch")


def torch_fidelity(module: str):
  """A module of torch-fidelity, without what the package imports besides, such as torchvision."""
  if "torch_fidelity" not in sys.modules:
    spec = importlib.util.find_spec("torch_fidelity")
    if spec is None:
      pytest.skip("torch-fidelity is not installed")
    sys.modules["torch_fidelity"] = package = types.ModuleType("torch_fidelity")
    package.__path__ = list(spec.submodule_search_locations)
  return importlib.import_module(f"torch_fidelity.{module}")


def extractor(features: list[str], path: pathlib.Path):
  """torch-fidelity's extractor with the weights of a file."""
  return torch_fidelity("feature_extractor_inceptionv3").FeatureExtractorInceptionV3(
      "inception-v3-compat", features, feature_extractor_weights_path=str(path))


@functools.cache
def weights_file(counters: bool = False) -> pathlib.Path:
  """Random weights of torch-fidelity's class, as its file has them, or with norms' counters."""
  module = torch_fidelity("feature_extractor_inceptionv3")
  cls = module.FeatureExtractorInceptionV3
  with (mock.patch.object(cls, "load_state_dict"),
        mock.patch.object(module, "load_state_dict_from_url")):
    theirs = cls("inception-v3-compat", ["2048"])
  rng = np.random.default_rng(0)
  for name, tensor in theirs.state_dict().items():
    if name.endswith("num_batches_tracked"):
      tensor.fill_(7)
      continue
    draw = rng.normal(size=tensor.shape)
    if tensor.ndim > 1:
      draw *= np.sqrt(2 / np.prod(tensor.shape[1:]))
    elif name.endswith(("running_var", "bn.weight")):
      draw = rng.uniform(0.5, 1.5, tensor.shape)
    else:
      draw *= 0.3
    tensor.copy_(torch.from_numpy(draw))
  path = pathlib.Path(tempfile.mkdtemp()) / "weights.pth"
  torch.save({name: tensor for name, tensor in theirs.state_dict().items()
              if counters or not name.endswith("num_batches_tracked")}, path)
  return path


@functools.cache
def converted() -> pathlib.Path:
  """The file's weights, converted."""
  directory = pathlib.Path(tempfile.mkdtemp()) / "inception"
  converter.convert(families.get("inception"), weights_file(), directory)
  return directory
