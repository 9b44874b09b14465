"""State dicts in PyTorch's own files, read without running the code they may hold."""

import argparse
import logging
import pathlib
import pickle
import zipfile

import ml_dtypes
import numpy as np

from ntm.conversion.readers import Spec, TensorFiles

_LOG = logging.getLogger("ntm")


def open_pickle(path: pathlib.Path) -> TensorFiles:
  """Finds the tensors of a PyTorch file.

  The file holds a state dict, or a dict of which exactly one entry is a state
  dict; of several, "ema" is taken. The checksums (CRC-32) of its parts are verified,
  which reads it once. Files of PyTorch before 1.6 have none, cannot be mapped and are
  held in memory.

  Args:
    path: of the file.

  Raises:
    ValueError: damaged, with objects other than tensors and plain values, or
      no single state dict.
    ImportError: PyTorch is not installed.
  """
  mapped = zipfile.is_zipfile(path)
  if mapped:
    _verify(path)
  tensors = _state_dict(path, _load(path, mapped))
  try:
    specs = {name: _spec(name, tensor) for name, tensor in tensors.items()}
  except ValueError as error:
    raise ValueError(f"{path}: {error}.") from error
  # Where it can be, loaded anew: pages of the file stay in memory for as long as it is mapped.
  held = None if mapped else tensors
  read = lambda name: _array((held or _state_dict(path, _load(path, mapped), log=False))[name])
  return TensorFiles([path], specs, read, {})


def _verify(path):
  """Raises ValueError unless every part of the file has the checksum that is written with it."""
  try:
    with zipfile.ZipFile(path) as file:
      if not any(part.CRC for part in file.infolist() if part.file_size):
        _LOG.warning("%s was saved without checksums; damage of its numbers cannot be seen", path)
        return
      damaged = file.testzip()
  except Exception as error:  # What bytes out of place raise is anyone's guess.
    raise ValueError(f"{path} is damaged or not a PyTorch file ({_reason(error)}).") from error
  if damaged:
    raise ValueError(f"{path} is damaged: the checksum of {damaged} does not match; copy or "
                     "download the file again.")


def _load(path, mapped):
  try:
    import torch
  except ImportError as error:
    raise ImportError(f"reading {path} needs PyTorch (pip install torch); a .safetensors file "
                      "does not.") from error
  try:
    # Training scripts store their flags beside the model; a namespace holds no code.
    with torch.serialization.safe_globals([argparse.Namespace]):
      return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
  except pickle.UnpicklingError as error:
    raise ValueError(f"{path} is damaged or holds Python objects, whose code is not run here "
                     f"({_reason(error)}); save its state dict as .safetensors.") from error
  except Exception as error:  # What bytes out of place raise is anyone's guess.
    raise ValueError(f"{path} is damaged or not a PyTorch file ({_reason(error)}).") from error


def _state_dict(path, loaded, log=True):
  """The dict of tensors in what a file holds."""
  if _is_state_dict(loaded):
    return loaded
  inner = {key: value for key, value in loaded.items() if _is_state_dict(value)} if isinstance(
      loaded, dict) else {}
  if not inner:
    raise ValueError(f"{path} holds no dict of tensors alone.")
  name = "ema" if "ema" in inner else next(iter(inner))
  if name != "ema" and len(inner) > 1:
    raise ValueError(f"{path} holds several state dicts ({', '.join(map(str, inner))}) and none "
                     "is 'ema': save the one you want on its own.")
  if log:
    _LOG.info("%s: reading the state dict %r", path, name)
  return inner[name]


def _is_state_dict(value):
  import torch
  return isinstance(value, dict) and bool(value) and all(
      isinstance(key, str) and isinstance(t, torch.Tensor) for key, t in value.items())


def _spec(name, tensor):
  """Shape and type.

  Raises:
    ValueError: numbers that are not an array of one of the types that are read.
  """
  import torch
  if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
    kind = ("quantised" if tensor.is_quantized else "without numbers" if tensor.is_meta
            else "sparse")
    raise ValueError(f"{name} {list(tensor.shape)} is {kind}, which is not read; save it as a "
                     "dense tensor of floating-point numbers")
  try:
    return Spec(tuple(tensor.shape), _dtype(tensor))
  except (TypeError, ValueError) as error:
    raise ValueError(f"{name}: {error}") from error


def _dtype(tensor):
  name = str(tensor.dtype).removeprefix("torch.")
  return np.dtype(getattr(ml_dtypes, name, name))


def _array(tensor):
  """A tensor's numbers as an array, over the same memory."""
  import torch
  dtype, tensor = _dtype(tensor), tensor.detach().contiguous()
  if dtype.type.__module__ == np.__name__:
    return tensor.numpy()
  # NumPy knows no such type: across as integers of its width.
  return tensor.view({1: torch.uint8, 2: torch.int16}[dtype.itemsize]).numpy().view(dtype)


def _reason(error):
  """The line of PyTorch's message that says what is wrong."""
  lines = [line.strip() for line in str(error).splitlines() if line.strip()]
  telling = [line for line in lines if "Unsupported" in line or "GLOBAL" in line]
  return (telling or lines or [type(error).__name__])[0]
