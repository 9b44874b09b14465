"""What the networks of PyTorch that measure pictures share: device, checksum, input and results.

PyTorch is imported where it is used: most of `ntm evaluate` does without.
"""

import numpy as np

from ntm.evaluation import features
from ntm.sampling import pictures


def device():
  """The GPU that PyTorch finds, or the CPU, as a `torch.device`."""
  import torch
  return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def sha256(module) -> str:
  """SHA-256 of names, types, shapes and values of a `torch.nn.Module`."""
  arrays = {name: value.cpu().numpy() for name, value in sorted(module.state_dict().items())}
  return features.sha256(np.array([*arrays]), *arrays.values())


def pixels(images: np.ndarray) -> np.ndarray:
  """Images [M, H, W, 1 or 3], float in [-1, 1] or uint8, as uint8 [M, H, W, 3].

  Raises:
    ValueError: arrays of another number of channels.
  """
  return features.colour(images if images.dtype == np.uint8 else pictures.to_uint8(images))


def mean_and_error(name: str, values: np.ndarray) -> dict[str, float]:
  """Mean of independent values and its standard error, as results; of one value no error."""
  found = {name: float(values.mean())}
  if len(values) > 1:
    found[f"{name}_standard_error"] = float(values.std(ddof=1) / len(values) ** 0.5)
  return found
