"""Files that PyTorch saves, read without running the code they may hold."""

import argparse
import logging
import pathlib
import pickle
import zipfile

import ml_dtypes
import numpy as np

from ntm.conversion.tensors import TensorFiles, TensorSpec

_LOG = logging.getLogger("ntm")


def open_pytorch(path: pathlib.Path) -> TensorFiles:
  """The tensors of a file with a state dict.

  The file holds the state dict itself, or a dict with exactly one state dict among its
  values; of several, "ema" is taken. Its checksums (CRC-32) are verified, which reads the
  file once. Files of PyTorch before 1.6 have no checksums and are held in memory.

  Raises:
    ValueError: the file is damaged, holds objects other than tensors and plain values, or
      holds no state dict or several.
    ImportError: PyTorch is not installed.
  """
  mapped = zipfile.is_zipfile(path)
  if mapped:
    _verify_checksums(path)
  key, tensors = _state_dict(path, _load(path, mapped))
  if key is not None:
    _LOG.info("%s: reading the state dict %r", path, key)
  try:
    specs = {name: _spec(name, tensor) for name, tensor in tensors.items()}
  except ValueError as error:
    raise ValueError(f"{path}: {error}.") from error
  # Loaded for each tensor if possible: the pages of a mapped file stay in memory.
  held = None if mapped else tensors
  read = lambda name: _array((held or _state_dict(path, _load(path, mapped))[1])[name])
  return TensorFiles([path], specs, read, {})


def _verify_checksums(path):
  """Raises ValueError unless every part of the file matches its checksum."""
  try:
    with zipfile.ZipFile(path) as file:
      if not any(part.CRC for part in file.infolist() if part.file_size):
        _LOG.warning("%s was saved without checksums; damage of its numbers cannot be seen", path)
        return
      damaged = file.testzip()
  except Exception as error:  # A damaged file can raise anything.
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
    # Training scripts save their flags with the model; a namespace holds no code.
    with torch.serialization.safe_globals([argparse.Namespace]):
      return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
  except pickle.UnpicklingError as error:
    raise ValueError(f"{path} is damaged or holds Python objects, whose code is not run here "
                     f"({_reason(error)}); save its state dict as .safetensors.") from error
  except Exception as error:  # A damaged file can raise anything.
    raise ValueError(f"{path} is damaged or not a PyTorch file ({_reason(error)}).") from error


def _state_dict(path, loaded):
  """(key or None, dict of tensors) in what a file holds."""
  if _is_state_dict(loaded):
    return None, loaded
  values = loaded if isinstance(loaded, dict) else {}
  inner = {key: value for key, value in values.items() if _is_state_dict(value)}
  if not inner:
    raise ValueError(f"{path} holds no dict of tensors alone.")
  key = "ema" if "ema" in inner else next(iter(inner))
  if key != "ema" and len(inner) > 1:
    raise ValueError(f"{path} holds several state dicts ({', '.join(map(str, inner))}) and none "
                     "is 'ema': save the one you want on its own.")
  return key, inner[key]


def _is_state_dict(value):
  import torch
  return isinstance(value, dict) and bool(value) and all(
      isinstance(key, str) and isinstance(t, torch.Tensor) for key, t in value.items())


def _spec(name, tensor):
  """Shape and type; raises ValueError unless the tensor is a dense array of a supported type."""
  import torch
  if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
    kind = ("quantised" if tensor.is_quantized else "without numbers" if tensor.is_meta
            else "sparse")
    raise ValueError(f"{name} {list(tensor.shape)} is {kind}, which is not read; save it as a "
                     "dense tensor of floating-point numbers")
  try:
    dtype = np.dtype(str(tensor.dtype).removeprefix("torch."))
    return TensorSpec(tuple(tensor.shape), dtype)
  except (TypeError, ValueError) as error:
    raise ValueError(f"{name}: {error}") from error


def _array(tensor):
  """The numbers of a tensor as an array over the same memory."""
  import torch
  tensor = tensor.detach().contiguous()
  if tensor.dtype == torch.bfloat16:  # NumPy has no such type: passed as integers of its width.
    return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
  return tensor.numpy()


def _reason(error):
  """The line of PyTorch's message that names the cause."""
  lines = [line.strip() for line in str(error).splitlines() if line.strip()]
  telling = [line for line in lines if "Unsupported" in line or "GLOBAL" in line]
  return (telling or lines or [type(error).__name__])[0]
