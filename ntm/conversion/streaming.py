"""Converted parameters on disk: an Orbax checkpoint, written and read piece by piece.

The layout is that of `ntm.training.checkpoint` with the item `ema` alone, at step 0:
DIRECTORY/checkpoints/0/ema has one zarr array per leaf, next to a manifest of their
checksums. Orbax saves whole arrays; here each leaf is written as its pieces are read.
"""

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import flax.traverse_util
import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore
from etils import epath

from ntm import checksums
from ntm.conversion.tensors import TensorSpec

_CHUNK_BYTES = 2**25  # Per file: small next to a leaf, large next to a block of a disk.
_STEP, _ITEM = 0, "ema"


@dataclasses.dataclass(frozen=True)
class Leaf:
  """A parameter that is read while it is written.

  Attributes:
    spec: shape and type of the whole.
    stacked: whether the pieces are the rows of the first axis.
    pieces: starts reading: (row, or None for the whole, array of the spec's type).
  """

  spec: TensorSpec
  stacked: bool
  pieces: Callable[[], Iterator[tuple[int | None, np.ndarray]]]


def save(directory: str | os.PathLike, leaves: Mapping[str, Leaf]) -> None:
  """Writes DIRECTORY/checkpoints with leaves by path, one piece in memory at a time."""
  sums = {}
  handlers = ocp.type_handlers.create_type_handler_registry((Leaf, _LeafHandler(sums)))
  # Without OCDBT every leaf is a zarr array of its own, which tensorstore opens by path.
  handler = ocp.PyTreeCheckpointHandler(use_ocdbt=False, type_handler_registry=handlers)
  options = ocp.CheckpointManagerOptions(enable_async_checkpointing=False)
  tree = flax.traverse_util.unflatten_dict(dict(leaves), sep="/")
  with ocp.CheckpointManager(_checkpoints(directory), options=options,
                             item_handlers={_ITEM: handler}) as manager:
    manager.save(_STEP, args=ocp.args.Composite(**{_ITEM: ocp.args.PyTreeSave(tree)}))
  arrays = {path: checksums.entry(leaf.spec.dtype, leaf.spec.shape, sums[_file_name(path)])
            for path, leaf in leaves.items()}
  manifest = _step(directory) / checksums.MANIFEST / "metadata"
  manifest.parent.mkdir()
  manifest.write_text(json.dumps(checksums.seal({"arrays": {_ITEM: arrays}, "json": {}})))


def restore(directory: str | os.PathLike, shardings=None) -> dict[str, Any]:
  """All leaves as a nested dict, in the types on disk; raises ValueError if they are damaged.

  Args:
    directory: that `save` has written into.
    shardings: of every leaf, into which it is read, each process its own part; None for NumPy
      arrays on the host.
  """
  with _errors_in_one_line(directory):
    written, like = checksums.read_manifest(_step(directory)), None
    place = _step(directory) / _ITEM
    if shardings is not None:
      on_disk = ocp.StandardCheckpointHandler().metadata(place).tree
      like = jax.tree.map(lambda sharding, leaf: jax.ShapeDtypeStruct(
          leaf.shape, leaf.dtype, sharding=sharding), shardings, on_disk)
    # Without a manager, which would warn that it only reads.
    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
      tree = checkpointer.restore(place, args=ocp.args.StandardRestore(like))
    checksums.verify(written, {_ITEM: tree})
  return tree


def manifest(directory: str | os.PathLike) -> dict[str, list]:
  """[type, shape, checksum] of every leaf by its path; ValueError if they are damaged."""
  with _errors_in_one_line(directory):
    written = checksums.read_manifest(_step(directory))
  if written is None:  # Of before there were manifests.
    return checksums.of_tree(restore(directory))
  return written["arrays"][_ITEM]


class StoredLeaf:
  """A leaf on disk whose rows, or [...] for the whole, are read once each."""

  def __init__(self, directory: str | os.PathLike, path: str):
    """Opens the leaf of a path; raises ValueError if it is damaged."""
    self._directory, self._sum = directory, 0
    place = _step(directory) / _ITEM / _file_name(path)
    with _errors_in_one_line(directory):
      # A file that is missing is an error, not zeros.
      self._array = tensorstore.open(
          _zarr(place) | {"fill_missing_data_reads": False}).result()
    self.spec = TensorSpec(tuple(self._array.shape), self._array.dtype.numpy_dtype)

  def __getitem__(self, index) -> np.ndarray:
    with _errors_in_one_line(self._directory):
      piece = self._array[index].read().result()
    self._sum += checksums.of_array(piece, 0 if index is ... else index * piece.size)
    return piece

  def manifest_entry(self) -> list:
    """The entry of the manifest, after the whole leaf was read."""
    return checksums.entry(self.spec.dtype, self.spec.shape, self._sum)


def verify(directory: str | os.PathLike, leaves: Mapping[str, StoredLeaf]) -> None:
  """Raises ValueError if leaves by path, all of them read, do not match their checksums.

  Directories that were converted before there were checksums are accepted.
  """
  with _errors_in_one_line(directory):
    written = checksums.read_manifest(_step(directory))
  for path, leaf in leaves.items():
    if written is not None and written["arrays"][_ITEM].get(path) != leaf.manifest_entry():
      raise ValueError(f"{path} in {directory} is damaged: its checksum does not match; convert "
                       "the source again.")


class _LeafHandler(ocp.type_handlers.NumpyHandler):
  """Writes a `Leaf` for Orbax, which reads it back as a NumPy array."""

  def __init__(self, sums: dict[str, int]):
    """Checksums are put into `sums`, by file name."""
    super().__init__()
    self._sums = sums

  async def serialize(self, values: Sequence[Leaf], infos, args=None):
    """Writes each leaf as a zarr array, its pieces as they are read, and notes its checksum."""
    for leaf, info in zip(values, infos):
      array = await tensorstore.open(
          _zarr(info.parent_dir / info.name), create=True, dtype=leaf.spec.dtype,
          shape=leaf.spec.shape,
          chunk_layout=tensorstore.ChunkLayout(chunk_shape=_chunk_shape(leaf)))
      total = 0
      for index, piece in leaf.pieces():
        total += checksums.of_array(piece, (index or 0) * piece.size)
        await (array if index is None else array[index]).write(piece)
        del piece  # Or it would be held while the next one is read.
      self._sums[info.name] = total
    return []


@contextlib.contextmanager
def _errors_in_one_line(directory):
  """Turns the errors of storage and of damaged files into one clear line."""
  try:
    yield
  except Exception as error:
    reason = str(error).strip().partition("\n")[0].partition(" [tensorstore_spec")[0]
    raise ValueError(f"{directory} is damaged or incomplete ({reason}); convert the source "
                     "again.") from error


def _chunk_shape(leaf):
  """Rows of a stacked leaf apart, then the longest axis halved until a chunk is small."""
  shape = [max(size, 1) for size in leaf.spec.shape]
  if leaf.stacked:
    shape[0] = 1
  while np.prod(shape, dtype=np.int64) * leaf.spec.dtype.itemsize > _CHUNK_BYTES:
    longest = int(np.argmax(shape))
    shape[longest] = -(-shape[longest] // 2)
  return shape


def _zarr(place):
  return {"driver": "zarr", "kvstore": {"driver": "file", "path": os.fspath(place)}}


def _file_name(path):
  return path.replace("/", ".")


def _step(directory):
  return _checkpoints(directory) / str(_STEP)


def _checkpoints(directory):
  # Orbax expects an absolute path; one in a bucket is one already.
  path = epath.Path(directory)
  return (path if "://" in os.fspath(directory) else path.absolute()) / "checkpoints"
