"""Types and numbers that no trained model has, and that therefore are damage.

Tensors of zeros alone are valid: biases, modulations and readouts start at zero. Gains of
norms and variances are never zero, nor is every tensor of a file.
"""

import logging

import jax.numpy as jnp
import numpy as np

from ntm.conversion.mapping import Entry
from ntm.conversion.tensors import TensorFiles

_LOG = logging.getLogger("ntm")
_GAINS = ("scale",)  # Last keys of leaves.
_VARIANCES = ("var", "latent_var")


def check_types(entries: list[Entry], tensors: TensorFiles) -> None:
  """Raises ValueError if a parameter would be made of integers or booleans."""
  wrong = [f"{name} {list(spec.shape)} is {spec.dtype} (for {entry.target})"
           for entry in entries for name, _ in entry.pieces()
           if not jnp.issubdtype((spec := tensors.specs[name]).dtype, jnp.floating)]
  if wrong:
    more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    raise ValueError(f"parameters must be floating-point numbers: {wrong[0]}{more}; quantised "
                     "weights are not supported.")


class Inspector:
  """Reads tensors and refuses damaged numbers; inspects each tensor once."""

  def __init__(self, entries: list[Entry], tensors: TensorFiles):
    self._tensors = tensors
    self._last_keys = {name: entry.target.split("/")[-1] for entry in entries
                       for name, _ in entry.pieces()}
    self._inspected, self._zero = set(), []

  def read(self, name: str) -> np.ndarray:
    """The tensor of that name; raises ValueError if it has numbers of no trained model."""
    array = self._tensors.read(name)
    if name not in self._inspected:
      self._inspected.add(name)
      self._inspect(name, array)
    return array

  def finish(self) -> None:
    """Warns of weights of zeros, after all tensors were read; raises ValueError if all are."""
    if self._zero and len(self._zero) == len(self._inspected):
      raise ValueError(f"all {len(self._zero)} tensors are zero: the file is damaged, or was "
                       "never filled.")
    weights = [name for name in self._zero if len(self._tensors.specs[name].shape) > 1]
    if weights:
      _LOG.warning("%d weights are zero throughout, as %s: right in layers that were never "
                   "trained, else the file is damaged", len(weights), weights[0])

  def _inspect(self, name, array):
    what, key = f"{name} {list(array.shape)}", self._last_keys[name]
    finite = np.isfinite(array)
    if not finite.all():
      raise ValueError(f"{what} holds {array.size - finite.sum()} numbers that are NaN or "
                       "infinite: the file is damaged, or the training of the model failed.")
    if key in _VARIANCES and not (array > 0).all():
      raise ValueError(f"{what} holds variances that are not positive: the file is damaged.")
    if array.any():
      return
    if key in _GAINS:
      raise ValueError(f"{what} holds gains that are all zero: the file is damaged.")
    self._zero.append(name)


def narrowed(array: np.ndarray, dtype: np.dtype, name: str) -> np.ndarray:
  """The array in another type; raises ValueError for numbers beyond its range."""
  with np.errstate(over="ignore"):  # Reported by the error below.
    cast = array.astype(dtype, copy=False)
  if cast.dtype.itemsize < array.dtype.itemsize and not np.isfinite(cast).all():
    raise ValueError(f"{name} holds numbers beyond the range of {dtype}; convert with "
                     "--dtype=float32, or keep the file's types.")
  return cast
