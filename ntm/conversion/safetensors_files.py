"""Files in the .safetensors format, read and written one tensor at a time.

A file starts with the length of its header in eight bytes. The header is JSON, with type,
shape and byte range of every tensor; the numbers follow in the order of the header.
"""

import contextlib
import json
import pathlib
import struct
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ntm.conversion.tensors import TYPES_BY_NAME, TensorFiles, TensorSpec

_NAMES = {dtype: name for name, dtype in TYPES_BY_NAME.items()}


def open_safetensors(paths: list[pathlib.Path]) -> TensorFiles:
  """The tensors of one or several files.

  Raises:
    ValueError: a damaged file, a type that is not supported, or a tensor in two files.
  """
  path_of, specs, metadata = {}, {}, []
  for path in paths:
    with _safe_open(path) as file:
      _check_header(path)
      metadata.append(file.metadata() or {})
      for name in file.offset_keys():
        if name in path_of:
          raise ValueError(f"{name} is both in {path_of[name]} and in {path}.")
        view = file.get_slice(name)
        if view.get_dtype() not in TYPES_BY_NAME:
          raise ValueError(f"{path}: {name} is of type {view.get_dtype()}, which is not read.")
        path_of[name] = path
        specs[name] = TensorSpec(tuple(view.get_shape()), TYPES_BY_NAME[view.get_dtype()])

  def read(name):
    # Opened for each tensor: the pages of a mapped file stay in memory until it is closed.
    with _safe_open(path_of[name]) as file:
      return file.get_tensor(name)

  return TensorFiles(paths, specs, read, metadata[0] if metadata else {})


def open_sharded(index: pathlib.Path) -> TensorFiles:
  """The tensors of the shards that a `*.safetensors.index.json` lists.

  Raises:
    FileNotFoundError: a shard is missing.
    ValueError: the index is damaged or does not match its shards, or as `open_safetensors`.
  """
  try:
    record = json.loads(index.read_text(), object_pairs_hook=_without_duplicates)
    shard_of, size = record["weight_map"], record.get("metadata", {}).get("total_size")
    shards = [index.with_name(name) for name in sorted(set(shard_of.values()))]
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise ValueError(f"{index} is not an index of shards in its directory ({error!r}).") from error
  for shard in shards:
    if not shard.exists():
      raise FileNotFoundError(f"{shard} does not exist, but {index.name} names it.")
    if not shard.is_file():
      raise ValueError(f"{shard} is not a file, but {index.name} names it as one.")
  tensors = open_safetensors(shards)
  unmatched = sorted(set(shard_of) ^ set(tensors.specs))
  if unmatched:
    raise ValueError(f"{index} and its shards do not agree on {', '.join(unmatched)}.")
  found = sum(spec.nbytes for spec in tensors.specs.values())
  if size is not None and size != found:
    raise ValueError(f"{index} gives total_size {size}, but its shards hold {found} bytes of "
                     "numbers; download them again.")
  return tensors


def write_safetensors(path: pathlib.Path, specs: Mapping[str, TensorSpec],
                      tensors: Iterable[tuple[str, np.ndarray]],
                      metadata: Mapping[str, str]) -> None:
  """Writes a file, one tensor in memory at a time.

  Args:
    path: of the file.
    specs: of all tensors, in the order of the file.
    tensors: (name, array) in any order; arrays are cast to the type of their spec.
    metadata: text entries for the header.

  Raises:
    ValueError: a tensor is missing, given twice, unknown, or has another shape.
  """
  header = {"__metadata__": dict(metadata)} if metadata else {}
  offsets, end = {}, 0
  for name, spec in specs.items():
    offsets[name], end = end, end + spec.nbytes
    header[name] = {"dtype": _NAMES[spec.dtype], "shape": list(spec.shape),
                    "data_offsets": [offsets[name], end]}
  text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
  text += b" " * (-len(text) % 8)
  with open(path, "wb") as file:
    file.write(struct.pack("<Q", len(text)) + text)
    for name, array in tensors:
      if name not in offsets:
        raise ValueError(f"{path}: {name} is unknown or given twice.")
      if array.shape != specs[name].shape:
        raise ValueError(f"{path}: {name} is {array.shape}, not {specs[name].shape}.")
      file.seek(8 + len(text) + offsets.pop(name))
      # As bytes: the types of ml_dtypes have no buffer protocol.
      array = np.ascontiguousarray(array.astype(specs[name].dtype, copy=False))
      file.write(array.reshape(-1).view(np.uint8).data)
  if offsets:
    raise ValueError(f"{path}: no numbers for {', '.join(offsets)}.")


@contextlib.contextmanager
def _safe_open(path):
  """The file as the library opens it, which checks types, shapes and byte ranges."""
  try:
    import safetensors
  except ImportError as error:
    raise ImportError(
        "reading .safetensors files needs safetensors: pip install 'ntm[convert]'") from error
  try:
    with safetensors.safe_open(path, framework="np") as file:
      yield file
  except safetensors.SafetensorError as error:
    raise ValueError(f"{path} is damaged or not a .safetensors file ({error}).") from error


def _check_header(path):
  """Raises ValueError if the header has a name twice, of which the library takes the last."""
  with open(path, "rb") as file:
    (size,) = struct.unpack("<Q", file.read(8))
    text = file.read(size)
  try:
    json.loads(text, object_pairs_hook=_without_duplicates)
  except ValueError as error:
    raise ValueError(f"{path} is damaged: its header is not valid ({error}).") from error


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  """A JSON object as a dict; raises ValueError if a key is given twice."""
  found = {}
  for key, value in pairs:
    if key in found:
      raise ValueError(f"{key!r} is given twice")
    found[key] = value
  return found
