"""The files of a source checkpoint, by their format."""

import os
import pathlib

from ntm.conversion import pytorch_files, safetensors_files
from ntm.conversion.tensors import TensorFiles

_INDEX, _SAFETENSORS, _PYTORCH = ".safetensors.index.json", ".safetensors", (".pt", ".pth", ".bin")


def open_source(source: str | os.PathLike) -> TensorFiles:
  """Finds the tensors of a model without reading their numbers.

  The source is a .safetensors file, a `*.safetensors.index.json` of shards, a PyTorch file
  (.pt, .pth, .bin), or a directory with one of them.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: the file has another format, is damaged or holds Python objects, or the shards
      do not match their index.
    ImportError: safetensors or PyTorch is needed and not installed.
  """
  path = _find(pathlib.Path(source))
  if path.name.endswith(_INDEX):
    return safetensors_files.open_sharded(path)
  if path.suffix == _SAFETENSORS:
    return safetensors_files.open_safetensors([path])
  if path.suffix in _PYTORCH:
    return pytorch_files.open_pytorch(path)
  raise ValueError(f"{path} is neither .safetensors nor {', '.join(_PYTORCH)}.")


def _find(path):
  """The path itself if it is a file, or the only file of the first format in a directory."""
  if not path.exists():
    raise FileNotFoundError(f"{path} does not exist.")
  if not path.is_dir():
    return path
  for suffix in (_INDEX, _SAFETENSORS, *_PYTORCH):
    found = sorted(path.glob(f"*{suffix}"))
    if len(found) > 1:
      raise ValueError(f"{path} holds {', '.join(p.name for p in found)}: name one of them.")
    if found:
      return found[0]
  raise FileNotFoundError(f"{path} holds neither .safetensors nor {', '.join(_PYTORCH)} files.")
