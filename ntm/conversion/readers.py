"""Files of named tensors, read and written one tensor at a time.

A .safetensors file is eight bytes with the length of a JSON header, the header,
which gives every tensor its type, shape and place, and the numbers in the order
of the header.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import struct
from collections.abc import Callable, Iterable, Mapping

import ml_dtypes
import numpy as np

from ntm.conversion import safetensors_header

_TYPES = {
    "BOOL": np.bool_, "U8": np.uint8, "I8": np.int8, "U16": np.uint16, "I16": np.int16,
    "U32": np.uint32, "I32": np.int32, "U64": np.uint64, "I64": np.int64,
    "F16": np.float16, "BF16": ml_dtypes.bfloat16, "F32": np.float32, "F64": np.float64,
}
_CODES = {np.dtype(value): code for code, value in _TYPES.items()}
_INDEX = ".safetensors.index.json"
_PICKLES = (".pt", ".pth", ".bin")


@dataclasses.dataclass(frozen=True)
class Spec:
  """Shape and type of a tensor."""

  shape: tuple[int, ...]
  dtype: np.dtype

  def __post_init__(self):
    if self.dtype not in _CODES:
      raise ValueError(f"numbers of type {self.dtype} are not read; expected one of "
                       f"{', '.join(map(str, _CODES))}")

  @property
  def nbytes(self) -> int:
    """Its size on disk."""
    return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


@dataclasses.dataclass(frozen=True)
class TensorFiles:
  """The tensors of a file, or of the files of one sharded model.

  Attributes:
    paths: the files.
    specs: by tensor name, in the order of the files.
    read: tensor name → array. Nothing is kept: memory is the caller's alone.
    metadata: text that the first file carries beside the tensors.
  """

  paths: list[pathlib.Path]
  specs: dict[str, Spec]
  read: Callable[[str], np.ndarray]
  metadata: dict[str, str]

  @property
  def shapes(self) -> dict[str, tuple[int, ...]]:
    """Shapes by tensor name."""
    return {name: spec.shape for name, spec in self.specs.items()}


def open_files(source: str | os.PathLike) -> TensorFiles:
  """Finds the tensors of a model without reading their numbers.

  Args:
    source: a .safetensors file; a `*.safetensors.index.json`; a PyTorch file
      (.pt, .pth, .bin); or a directory that holds one of them.

  Raises:
    FileNotFoundError: nothing there.
    ValueError: another kind of file, a damaged one, a pickle with code, shards
      that do not agree with their index.
    ImportError: safetensors or PyTorch is needed and not installed.
  """
  path = _find(pathlib.Path(source))
  if path.name.endswith(_INDEX):
    return _open_sharded(path)
  if path.suffix == ".safetensors":
    return _open_safetensors([path])
  if path.suffix in _PICKLES:
    from ntm.conversion import pickles  # PyTorch is needed for these alone.
    return pickles.open_pickle(path)
  raise ValueError(f"{path} is neither .safetensors nor {', '.join(_PICKLES)}.")


def write_safetensors(path: pathlib.Path, specs: Mapping[str, Spec],
                      tensors: Iterable[tuple[str, np.ndarray]],
                      metadata: Mapping[str, str]) -> None:
  """Writes a .safetensors file, each tensor at its place as it comes.

  Args:
    path: of the file, which is whole only if this returns.
    specs: of all tensors, in the order of the file.
    tensors: (name, array) in any order; the type is changed to that of the spec.
    metadata: text for the header; empty for none.

  Raises:
    ValueError: a tensor missing, given twice, unknown, or of another shape.
  """
  header = {"__metadata__": dict(metadata)} if metadata else {}
  starts, end = {}, 0
  for name, spec in specs.items():
    starts[name] = end
    end += spec.nbytes
    header[name] = {"dtype": _CODES[spec.dtype], "shape": list(spec.shape),
                    "data_offsets": [starts[name], end]}
  text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
  text += b" " * (-len(text) % 8)
  left = dict(starts)
  with open(path, "wb") as file:
    file.write(struct.pack("<Q", len(text)) + text)
    for name, array in tensors:
      if name not in left:
        raise ValueError(f"{path}: {name} is unknown or given twice.")
      if array.shape != specs[name].shape:
        raise ValueError(f"{path}: {name} is {array.shape}, not {specs[name].shape}.")
      file.seek(8 + len(text) + left.pop(name))
      # As bytes: the types of ml_dtypes have no buffer protocol.
      array = np.ascontiguousarray(array.astype(specs[name].dtype, copy=False))
      file.write(array.reshape(-1).view(np.uint8).data)
  if left:
    raise ValueError(f"{path}: no numbers for {', '.join(left)}.")


def _find(path):
  """The file a source names: itself, or the one of its kind in a directory."""
  if not path.exists():
    raise FileNotFoundError(f"{path} does not exist.")
  if not path.is_dir():
    return path
  for kind in (f"*{_INDEX}", "*.safetensors", *(f"*{suffix}" for suffix in _PICKLES)):
    found = sorted(path.glob(kind))
    if len(found) > 1:
      raise ValueError(f"{path} holds {', '.join(p.name for p in found)}: name one of them.")
    if found:
      return found[0]
  raise FileNotFoundError(f"{path} holds neither .safetensors nor {', '.join(_PICKLES)} files.")


def _open_sharded(index):
  """The shards an index names, checked against it."""
  try:
    record = json.loads(index.read_text(), object_pairs_hook=safetensors_header.unique)
    places, size = record["weight_map"], record.get("metadata", {}).get("total_size")
    shards = [index.with_name(name) for name in sorted(set(places.values()))]
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise ValueError(f"{index} is not an index of shards in its directory ({error!r}).") from error
  for shard in shards:
    if not shard.exists():
      raise FileNotFoundError(f"{shard} does not exist, but {index.name} names it.")
    if not shard.is_file():
      raise ValueError(f"{shard} is not a file, but {index.name} names it as one.")
  tensors = _open_safetensors(shards)
  astray = sorted(set(places) ^ set(tensors.specs))
  if astray:
    raise ValueError(f"{index} and its shards do not agree on {', '.join(astray)}.")
  found = sum(spec.nbytes for spec in tensors.specs.values())
  if size is not None and size != found:
    raise ValueError(f"{index} gives total_size {size}, but its shards hold {found} bytes of "
                     "numbers; download them again.")
  return tensors


def _open_safetensors(paths):
  places, specs, metadata = {}, {}, None
  for path in paths:
    with _safe_open(path) as file:
      safetensors_header.check(path)
      metadata = file.metadata() or {} if metadata is None else metadata
      for name in file.offset_keys():
        if name in places:
          raise ValueError(f"{name} is both in {places[name]} and in {path}.")
        view = file.get_slice(name)
        if view.get_dtype() not in _TYPES:
          raise ValueError(f"{path}: {name} is of type {view.get_dtype()}, which is not read.")
        places[name] = path
        specs[name] = Spec(tuple(view.get_shape()), np.dtype(_TYPES[view.get_dtype()]))

  def read(name):
    # Opened anew: pages of the file stay in memory for as long as it is mapped.
    with _safe_open(places[name]) as file:
      return file.get_tensor(name)

  return TensorFiles(list(paths), specs, read, metadata or {})


@contextlib.contextmanager
def _safe_open(path):
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
