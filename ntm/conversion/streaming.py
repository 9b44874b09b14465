"""Converted parameters on disk: an Orbax checkpoint written piece by piece.

The layout is that of `ntm.training.checkpoint`, with the item `ema` alone, at
step 0: DIRECTORY/checkpoints/0/ema, one zarr array a leaf, and a manifest of their
checksums. Orbax takes whole arrays; here each leaf arrives in pieces and is written
as they come.
"""

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import flax.traverse_util
import numpy as np
import orbax.checkpoint as ocp
import tensorstore
from etils import epath

from ntm import checksums

_CHUNK_BYTES = 2**25  # Of one file: small beside a leaf, large beside a disk's block.
_STEP, _ITEM = 0, "ema"


@dataclasses.dataclass(frozen=True)
class Leaf:
  """A parameter that is read while it is written.

  Attributes:
    shape: of the whole.
    dtype: of the whole; pieces are cast to it.
    stacked: pieces are the rows of the first axis.
    pieces: starts reading: (index in the first axis, or None for all, array).
  """

  shape: tuple[int, ...]
  dtype: np.dtype
  stacked: bool
  pieces: Callable[[], Iterator[tuple[int | None, np.ndarray]]]


def save(directory: str | os.PathLike, leaves: Mapping[str, Leaf]) -> None:
  """Writes a checkpoint, one piece of one leaf in memory at a time.

  Args:
    directory: of the result; `checkpoints` is made in it.
    leaves: by path, keys joined by "/".
  """
  sums = {}
  handlers = ocp.type_handlers.create_type_handler_registry((Leaf, _LeafHandler(sums)))
  # Without OCDBT every leaf is a zarr array of its own, which tensorstore opens by path.
  handler = ocp.PyTreeCheckpointHandler(use_ocdbt=False, type_handler_registry=handlers)
  options = ocp.CheckpointManagerOptions(enable_async_checkpointing=False)
  tree = flax.traverse_util.unflatten_dict(dict(leaves), sep="/")
  with ocp.CheckpointManager(_checkpoints(directory), options=options,
                             item_handlers={_ITEM: handler}) as manager:
    manager.save(_STEP, args=ocp.args.Composite(**{_ITEM: ocp.args.PyTreeSave(tree)}))
  arrays = {path: checksums.entry(leaf.dtype, leaf.shape, sums[_file(path)])
            for path, leaf in leaves.items()}
  manifest = _step(directory) / checksums.MANIFEST / "metadata"
  manifest.parent.mkdir()
  manifest.write_text(json.dumps(checksums.seal({"arrays": {_ITEM: arrays}, "json": {}})))


def restore(directory: str | os.PathLike) -> dict[str, Any]:
  """All leaves of a checkpoint as a nested dict of NumPy arrays.

  Raises:
    ValueError: damaged.
  """
  options = ocp.CheckpointManagerOptions(read_only=True, save_interval_steps=0, create=False)
  with _errors_named(directory):
    written = checksums.read_manifest(_step(directory))
    with ocp.CheckpointManager(_checkpoints(directory), options=options) as manager:
      tree = manager.restore(
          _STEP, args=ocp.args.Composite(**{_ITEM: ocp.args.StandardRestore()}))[_ITEM]
    checksums.verify(written, {_ITEM: tree})
  return tree


class StoredLeaf:
  """A leaf on disk, of which pieces are read by index in the first axis, each once."""

  def __init__(self, directory: str | os.PathLike, path: str):
    """Opens the leaf of that path, keys joined by "/", which `save` has written.

    Raises:
      ValueError: damaged.
    """
    self._directory, self._sum = directory, 0
    place = _step(directory) / _ITEM / _file(path)
    with _errors_named(directory):
      # A file that is missing is an error, not zeros.
      self._array = tensorstore.open(
          _spec(place) | {"fill_missing_data_reads": False}).result()

  @property
  def dtype(self) -> np.dtype:
    """Of the whole."""
    return self._array.dtype.numpy_dtype

  @property
  def shape(self) -> tuple[int, ...]:
    """Of the whole."""
    return tuple(self._array.shape)

  def __getitem__(self, index) -> np.ndarray:
    with _errors_named(self._directory):
      piece = self._array[index].read().result()
    self._sum += checksums.of_array(piece, 0 if index is ... else index * piece.size)
    return piece

  def manifest_entry(self) -> list:
    """What a manifest says of the leaf, once all of it has been read."""
    return checksums.entry(self.dtype, self.shape, self._sum)


def read_manifest(directory: str | os.PathLike) -> dict[str, list] | None:
  """[type, shape, checksum] of every leaf by path; None for one written before there were any.

  Raises:
    ValueError: damaged.
  """
  with _errors_named(directory):
    written = checksums.read_manifest(_step(directory))
  return written and written["arrays"][_ITEM]


class _LeafHandler(ocp.type_handlers.TypeHandler):
  """How Orbax writes a `Leaf`; what is read back are NumPy arrays."""

  def __init__(self, sums: dict[str, int]):
    """Checksums are put into `sums`, by file name."""
    self._sums = sums

  def typestr(self) -> str:
    return "np.ndarray"

  async def metadata(self, infos):
    raise NotImplementedError("leaves are restored by Orbax's own handlers")

  async def deserialize(self, infos, args=None):
    raise NotImplementedError("leaves are restored by Orbax's own handlers")

  async def serialize(self, values: Sequence[Leaf], infos, args=None):
    for leaf, info in zip(values, infos):
      array = await tensorstore.open(
          _spec(info.parent_dir / info.name), create=True, dtype=leaf.dtype, shape=leaf.shape,
          chunk_layout=tensorstore.ChunkLayout(chunk_shape=_chunk_shape(leaf)))
      total = 0
      for index, piece in leaf.pieces():
        place = array if index is None else array[index]
        piece = piece.astype(leaf.dtype, copy=False)
        total += checksums.of_array(piece, (index or 0) * piece.size)
        await place.write(piece)
        del piece  # Else it is held while the next one is read.
      self._sums[info.name] = total
    return []


@contextlib.contextmanager
def _errors_named(directory):
  """What storage or a damaged file raises, as one clear line."""
  try:
    yield
  except Exception as error:
    reason = str(error).strip().partition("\n")[0].partition(" [tensorstore_spec")[0]
    raise ValueError(f"{directory} is damaged or incomplete ({reason}); convert the source "
                     "again.") from error


def _step(directory):
  return _checkpoints(directory) / str(_STEP)


def _file(path):
  return path.replace("/", ".")


def _spec(place):
  return {"driver": "zarr", "kvstore": {"driver": "file", "path": os.fspath(place)}}


def _chunk_shape(leaf):
  """Rows of a stacked leaf apart, then the longest axis halved until a chunk is small."""
  shape = [max(size, 1) for size in leaf.shape]
  if leaf.stacked:
    shape[0] = 1
  while np.prod(shape, dtype=np.int64) * leaf.dtype.itemsize > _CHUNK_BYTES:
    longest = int(np.argmax(shape))
    shape[longest] = -(-shape[longest] // 2)
  return shape


def _checkpoints(directory):
  # Orbax wants it absolute; one on gs:// is, and stays what it is.
  path = epath.Path(directory)
  return (path if "://" in os.fspath(directory) else path.absolute()) / "checkpoints"
