"""LPIPS [Zhang et al., 2018]: how different two pictures look, by features of a network.

`Lpips` is the distance of the package `lpips`, version 0.1, of pairs of pictures: say of the two
samples that a trajectory's inverse and its denoiser give, or of completions and originals. Its mean
over pairs of samples of the same condition, which `pairs` forms, is their diversity; that of real
pictures of the same conditions says what to expect.
"""

import warnings
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from ntm.evaluation import torch_networks

NETWORKS = ("alex", "vgg", "squeeze")
_WEIGHTS = {"alex": "AlexNet_Weights", "vgg": "VGG16_Weights", "squeeze": "SqueezeNet1_1_Weights"}
_SMALLEST = {"alex": 31, "vgg": 16, "squeeze": 17}  # Least pixels per side.
_AT_A_TIME = 16  # Pairs in the network.


def check_size(network: str, image_shape: tuple[int, ...]) -> None:
  """Refuses pictures (height, width, channels) of which the layers of a network leave nothing.

  Raises:
    ValueError: a side is too short, with the least that will do.
  """
  height, width, _ = image_shape
  if min(height, width) < _SMALLEST[network]:
    raise ValueError(f"LPIPS's network {network!r} reduces pictures of {height} x {width} pixels "
                     f"to nothing; expected at least {_SMALLEST[network]} pixels per side.")


class Lpips:
  """The distance in the features of one network, on the GPU if PyTorch finds one.

  Attributes:
    record: names and values for results: what distances depend on.
  """

  def __init__(self, network: str = "alex"):
    """Loads the network's weights, which torchvision downloads once, and the package's own.

    Args:
      network: one of `NETWORKS`. "alex" is the authors' choice for comparisons.

    Raises:
      ImportError: the package or torchvision is not installed, or does not fit PyTorch.
      ValueError: another network, or weights that cannot be loaded.
    """
    if network not in NETWORKS:
      raise ValueError(f"the network of LPIPS is {network!r}; expected one of {NETWORKS}.")
    try:
      import lpips
      import torch
      import torchvision
    except ImportError as error:
      raise ImportError("LPIPS is computed by the packages lpips and torchvision: "
                        "pip install 'ntm[eval]'") from error
    except RuntimeError as error:  # Of torchvision, where PyTorch lacks its operators.
      raise ImportError(f"torchvision was made for another build of PyTorch ({error}); install "
                        "both from one index.") from error
    try:
      with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The package calls torchvision as of 2021.
        model = lpips.LPIPS(net=network, verbose=False)
    except Exception as error:  # Of many types: no network, a damaged file.
      url = getattr(torchvision.models, _WEIGHTS[network]).IMAGENET1K_V1.url
      raise ValueError(f"the weights of LPIPS's network {network!r} cannot be loaded ({error}); "
                       f"put the file of {url} into {torch.hub.get_dir()}/checkpoints.") from error
    self.record = {"lpips_network": network, "lpips_version": model.version,
                   "lpips_sha256": torch_networks.sha256(model)}
    self._network, self._device = network, torch_networks.device()
    self._torch, self._model = torch, model.to(self._device)

  def __call__(self, first: np.ndarray, second: np.ndarray,
               report: Callable[[int, int], None] = lambda done, total: None) -> np.ndarray:
    """Distances of pairs of pictures, float64 [M]; 0 for equal ones.

    Args:
      first: [M, H, W, 1 or 3], float in [-1, 1], which are rounded to 8 bits, or uint8.
      second: as many of the same size.
      report: called with the pairs done and M.

    Raises:
      ValueError: different shapes, or pictures too small for the network.
    """
    if first.shape != second.shape:
      raise ValueError(f"the pictures of pairs have shapes {first.shape} and {second.shape}; "
                       "expected equal ones.")
    check_size(self._network, first.shape[1:])
    found = [np.empty(0)]
    for start in range(0, len(first), _AT_A_TIME):
      rows = slice(start, start + _AT_A_TIME)
      found.append(self._distances(first[rows], second[rows]))
      report(min(start + _AT_A_TIME, len(first)), len(first))
    return np.concatenate(found)

  def _distances(self, first, second):
    torch = self._torch
    tensors = [torch.from_numpy(torch_networks.pixels(images).astype(np.float32) / 127.5 - 1)
               .permute(0, 3, 1, 2).to(self._device) for images in (first, second)]
    try:
      with torch.inference_mode():
        return self._model(*tensors).reshape(-1).cpu().numpy()
    except torch.OutOfMemoryError as error:
      raise ValueError(f"{self._device} has no memory for LPIPS next to JAX; set "
                       "XLA_CLIENT_MEM_FRACTION=0.5, or install PyTorch for CPU.") from error


def pairs(conditions: Sequence[Hashable], limit: int | None = None) -> np.ndarray:
  """Pairs of samples with the same condition, as rows [P, 2]; no sample is in two.

  Of each condition the first and second sample are a pair, the third and fourth, and so on: they
  are independent, so the error of a mean over pairs is that of independent values.

  Args:
    conditions: class or caption per sample.
    limit: at most so many pairs, chosen at random but always the same; None for all.
  """
  rows_of = {}
  for row, condition in enumerate(conditions):
    rows_of.setdefault(condition, []).append(row)
  found = [pair for rows in rows_of.values() for pair in zip(rows[::2], rows[1::2])]
  found = np.array(sorted(found, key=max), int).reshape(-1, 2)
  if limit is not None and len(found) > limit:
    found = np.random.default_rng(0).permutation(found)[:limit]
  return found
