"""Checksums of arrays, the same however an array is split over devices, processes and pieces.

The checksum of an array is a sum modulo 2^32 over its 32-bit words (a narrower number is one
word, a float64 two),

  sum_i mix(word_i + i c),

with the 32-bit finaliser of MurmurHash3 as `mix` and an odd c. Parts of an array add up in any
order, so each device sums its own, and a checkpoint written from one mesh is verified on
another, or on the host. It detects damage (a changed array passes with probability 2^-32), not
forgery.

A manifest lists type, shape and checksum of every array of a checkpoint, with a checksum of
itself.
"""

import json
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

_STRIDE = 0x9E3779B9
_MASK = 0xFFFFFFFF
_BLOCK = 2**16  # Words per sum on the host, which fit its cache.
_OWN = "checksum"
MANIFEST = "checksums"  # Item of a checkpoint; Orbax names the JSON file in it `metadata`.


class DamagedError(ValueError):
  """Data that were read are not those that were written."""


def of_array(array: np.ndarray, start: int = 0) -> int:
  """Checksum of an array on the host, or of a piece that starts at an index of a flat array.

  The checksums of the pieces of an array add up to its own modulo 2^32.
  """
  array = np.ascontiguousarray(array).reshape(-1)
  size = min(array.dtype.itemsize, 4)
  words = array.view(np.dtype(f"u{size}"))
  place = start * (array.dtype.itemsize // size)
  total, ramp = 0, np.arange(_BLOCK, dtype=np.uint32) * np.uint32(_STRIDE)
  for i in range(0, len(words), _BLOCK):
    block = words[i:i + _BLOCK].astype(np.uint32)
    block += ramp[:len(block)]
    block += np.uint32((place + i) * _STRIDE & _MASK)
    total += int(_mix(block).sum(dtype=np.uint64))
  return total & _MASK


def of_tree(tree) -> dict[str, list]:
  """[type, shape, checksum] of every array of a tree, by its path.

  A jax.Array is summed on its devices: all processes that share it must call this together.
  """
  leaves = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
  on_devices = {name: leaf for name, leaf in leaves.items() if isinstance(leaf, jax.Array)}
  on_host = {name: np.asarray(leaf) for name, leaf in leaves.items() if name not in on_devices}
  sums = jax.device_get(_on_devices(on_devices))
  sums |= {name: of_array(leaf) for name, leaf in on_host.items()}
  return {name: entry(leaf.dtype, leaf.shape, int(sums[name]))
          for name, leaf in (leaves | on_host).items()}


def entry(dtype, shape, checksum: int) -> list:
  """One array in a manifest."""
  return [jnp.dtype(dtype).name, list(shape), checksum & _MASK]


def of_json(value) -> int:
  """Checksum of a JSON value, independent of the order and spacing of its text."""
  return zlib.crc32(json.dumps(json.loads(json.dumps(value)), sort_keys=True).encode())


def seal(record: Mapping[str, Any]) -> dict[str, Any]:
  """The record with a checksum of itself."""
  return {**record, _OWN: of_json(record)}


def unseal(text: str, name: str, required: bool = False) -> dict[str, Any]:
  """The record in the JSON text of a file of that name.

  Raises:
    DamagedError: the text is not JSON or not the record that was written. Old records without
      a checksum are accepted unless it is required.
  """
  try:
    record = json.loads(text)
    own = record.pop(_OWN, None)
  except (ValueError, AttributeError, TypeError) as error:
    raise DamagedError(f"{name} is damaged: it is not a JSON record.") from error
  if own != of_json(record) and (required or own is not None):
    raise DamagedError(f"{name} is damaged or was edited: its checksum does not match.")
  return record


def read_manifest(directory: epath.Path) -> dict[str, Any] | None:
  """The manifest of a checkpoint step, or None if it was written before there were manifests.

  Raises:
    DamagedError: the manifest is damaged.
  """
  path = directory / MANIFEST / "metadata"
  if not path.parent.exists():
    return None
  try:
    return unseal(path.read_text(), f"{MANIFEST}/{path.name}", required=True)
  except (UnicodeDecodeError, FileNotFoundError) as error:
    raise DamagedError(f"{MANIFEST}/{path.name} is damaged or missing.") from error


def manifest(trees: Mapping[str, Any], **values) -> dict[str, Any]:
  """The manifest of a checkpoint, from trees of arrays and JSON values by item name."""
  return seal({"arrays": {item: of_tree(tree) for item, tree in trees.items()},
               "json": {item: of_json(value) for item, value in values.items()}})


def verify(written: Mapping[str, Any] | None, trees: Mapping[str, Any], **values) -> None:
  """Compares items with their manifest from `read_manifest`; accepts all if it is None.

  Raises:
    DamagedError: names the arrays and values that differ.
  """
  if written is None:
    return
  damaged = [item for item, value in values.items()
             if written["json"].get(item) != of_json(value)]
  for item, tree in trees.items():
    theirs, ours = written["arrays"].get(item, {}), of_tree(tree)
    damaged += [f"{item}/{name}" for name in sorted(set(theirs) | set(ours))
                if theirs.get(name) != ours.get(name)]
  if damaged:
    more = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
    raise DamagedError(f"{damaged[0]}{more} differ from what was written: damaged on disk.")


@jax.jit  # One program: of several at a time, processes could exchange sums in another order.
def _on_devices(arrays):
  return jax.tree.map(_of_device_array, arrays)


def _of_device_array(array):
  if array.dtype == jnp.bool_:
    array = array.astype(jnp.uint8)
  size = min(array.dtype.itemsize, 4)
  words = jax.lax.bitcast_convert_type(array, f"uint{8 * size}").astype(jnp.uint32)
  place, stride = jnp.zeros(words.shape, jnp.uint32), 1
  for axis in reversed(range(words.ndim)):
    along = jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis)
    place += along * np.uint32(stride * _STRIDE & _MASK)
    stride *= words.shape[axis]
  return _mix(words + place).sum(dtype=jnp.uint32)


def _mix(x):
  """A bijection of 32-bit words in which every bit of the input changes half the output."""
  x = x ^ (x >> 16)
  x = x * np.uint32(0x85EBCA6B)
  x = x ^ (x >> 13)
  x = x * np.uint32(0xC2B2AE35)
  return x ^ (x >> 16)
