"""What types and numbers in a source are surely damage, or not the weights of a model.

A tensor of zeros alone is not: models start with biases, modulations and readouts of
zero. Gains of norms and variances are never zero, nor is every tensor of a file.
"""

import logging

import numpy as np

from ntm.conversion.mapping import Entry
from ntm.conversion.readers import TensorFiles

_LOG = logging.getLogger("ntm")
_GAINS = ("scale",)  # Last keys of leaves.
_VARIANCES = ("var", "latent_var")


def check_types(entries: list[Entry], tensors: TensorFiles) -> None:
  """Raises ValueError if a parameter would be made of integers or booleans."""
  wrong = [f"{name} {list(tensors.specs[name].shape)} is {tensors.specs[name].dtype} "
           f"(for {entry.target})" for entry in entries for name, _ in entry.pieces()
           if not _is_float(tensors.specs[name].dtype)]
  if wrong:
    raise ValueError(f"parameters must be floating-point numbers: {wrong[0]}"
                     + (f" and {len(wrong) - 1} more" if len(wrong) > 1 else "")
                     + "; quantised weights are not supported.")


class Inspector:
  """Reads tensors and refuses numbers that are damage; each tensor is inspected once."""

  def __init__(self, entries: list[Entry], tensors: TensorFiles):
    """Of the tensors that the entries use."""
    self._read, self._specs = tensors.read, tensors.specs
    self._last_keys = {name: entry.target.split("/")[-1] for entry in entries
                       for name, _ in entry.pieces()}
    self._inspected, self._zero = set(), []

  def read(self, name: str) -> np.ndarray:
    """The tensor of that name.

    Raises:
      ValueError: NaN or infinite numbers, gains of zero, variances that are not positive.
    """
    array = self._read(name)
    if name not in self._inspected:
      self._inspected.add(name)
      self._inspect(name, array)
    return array

  def finish(self) -> None:
    """Reports tensors of zeros.

    Raises:
      ValueError: all that were read are.
    """
    if self._zero and len(self._zero) == len(self._inspected):
      raise ValueError(f"all {len(self._zero)} tensors are zero: the file is damaged, or was "
                       "never filled.")
    weights = [name for name in self._zero if len(self._specs[name].shape) > 1]
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
  """The array in another type.

  Raises:
    ValueError: numbers beyond the range of that type.
  """
  with np.errstate(over="ignore"):  # The error below says it.
    cast = array.astype(dtype, copy=False)
  if cast.dtype.itemsize < array.dtype.itemsize and not np.isfinite(cast).all():
    raise ValueError(f"{name} holds numbers beyond the range of {dtype}; convert with "
                     "--dtype=float32, or keep the file's types.")
  return cast


def _is_float(dtype: np.dtype) -> bool:
  # Types of ml_dtypes are not NumPy's floating ones.
  return np.issubdtype(dtype, np.floating) or dtype.name == "bfloat16"
