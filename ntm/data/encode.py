"""The directory that `ntm encode` writes: what is there, what is missing, and the index.

Chunk k becomes shard k, written by process k mod P (`ntm.data.encode_shards`). A run
that is started again finds the complete shards, checks them, tries what they lack
once more, and writes the others; when all are there, the index lists them and
their entries go.
"""

import logging
import pathlib
import shutil
import time
from typing import Any

import numpy as np

from ntm.data import encode_failures, encode_shards, encode_sources, shard_format
from ntm.data.encode_images import Encoder
from ntm.data.encode_sources import ChunkedSource

_LOG = logging.getLogger("ntm")
_SECONDS = 2.0  # Between two looks at the shards of other processes.
# Flags that decide a setting; of the last one also the content, which may have moved.
_DECIDED_BY = {"image_size": ("image_size",), "autoencoder": ("autoencoder",),
               "source": ("from", "split", "shard_size", "source")}


def settings(moments: dict[str, Any], source: ChunkedSource,
             flags: dict[str, Any]) -> dict[str, Any]:
  """What must not change between the start of a run and its end.

  Args:
    moments: `encode_images.settings`.
    source: of the images.
    flags: of the command, {name: value}: of each only what it changes must not change.
  """
  return {**moments, "source": {
      "kind": flags["from"], "fields": list(source.fields), "chunks": len(source.weights),
      "names": encode_sources.fingerprint(source)}, "flags": flags}


def check(target: pathlib.Path, wanted: dict[str, Any]) -> dict[str, Any] | None:
  """The index in a target if it was started with the same settings; None for a new target.

  Raises:
    ValueError: other settings, or a directory of something else.
  """
  if not shard_format.index_path(target).exists():
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
      raise ValueError(f"--target is {target}, which exists and holds no index of shards; choose "
                       "another target, or remove it.")
    return None
  index = shard_format.read_index(target)
  before = index["settings"]
  differing = [name for name in wanted if name != "flags" and before.get(name) != wanted[name]]
  if differing:
    _refuse(target, differing, before, wanted)
  return index


def _refuse(target, differing, before, now):
  """Raises ValueError for settings with other values: by all changed flags, if those say why."""
  flags = before.get("flags", {}), now["flags"]
  decisive = [name for name in differing if name in _DECIDED_BY]
  changed = [flag for name in decisive for flag in _DECIDED_BY[name]
             if flag in flags[0] and flags[0][flag] != flags[1][flag]]
  if changed:
    old, new = (" ".join(f"--{flag}={part[flag]}" for flag in changed) for part in flags)
    raise ValueError(f"{target} was encoded with {old}, and now it is {new}; repeat the command "
                     f"with {old}, or choose another --target.")
  if decisive:
    flag = _DECIDED_BY[decisive[0]][-1]
    raise ValueError(f"--{flag} is {flags[1][flag]}, and {target} was encoded with another content "
                     "of it; restore that, or choose another --target.")
  name = differing[0]
  raise ValueError(f"{target} was encoded with {name} {before.get(name)}, and now it is "
                   f"{now[name]}; choose another --target, or remove that one.")


def start(target: pathlib.Path, wanted: dict[str, Any]) -> None:
  """Makes a new target with an index without shards."""
  target.mkdir(parents=True, exist_ok=True)
  shard_format.write_json(shard_format.index_path(target), {
      "version": shard_format.VERSION, "complete": False, "settings": wanted, "shards": []})


def reopen(target: pathlib.Path, index: dict[str, Any]) -> None:
  """Turns a complete index back into entries, so that its shards are checked again."""
  if index["complete"]:
    for entry in index["shards"]:
      shard_format.write_json(shard_format.entry_path(target, entry["number"]), entry)
    start(target, index["settings"])


def pending(target: pathlib.Path, numbers: range, source: ChunkedSource, size: int) -> list[int]:
  """Those of some chunks whose shards are to be written.

  Their shards are not there, not as they were written, or lack examples that could not be read
  and can be by now.

  Args:
    target: directory of the shards.
    numbers: of the chunks.
    source: of the examples.
    size: side of the images in pixels.
  """
  missing = []
  for number in numbers:
    path = shard_format.entry_path(target, number)
    if path.exists():
      entry = _entry(path)
      if not entry or shard_format.digest(target / entry["file"]) != entry["sha256"]:
        reason = "is damaged or missing"
      elif entry["unreadable"] and encode_shards.readable_again(
          source, number, size, entry["unreadable"]):
        reason = "lacks examples that can be read by now"
      else:
        continue
      _LOG.warning("%s %s; it is encoded again.", target / shard_format.shard_name(number), reason)
      path.unlink()
    missing.append(number)
  return missing


def check_disk(target: pathlib.Path, encoder: Encoder, examples: int) -> None:
  """Raises ValueError unless the disk has room for that many more examples."""
  size = examples * 8 * int(np.prod(encoder.latent_shape))
  free = shutil.disk_usage(target).free
  if free < size:
    raise ValueError(f"{target} needs {size / 1e9:.2f} GB, and its disk has {free / 1e9:.2f} GB "
                     "left.")


def finish(target: pathlib.Path, source: ChunkedSource) -> dict[str, Any]:
  """Waits for the shards of all processes, and writes the index and the list of the unreadable.

  Raises:
    ValueError: more examples than allowed cannot be read.
  """
  paths = [shard_format.entry_path(target, number) for number in range(len(source.weights))]
  while not all(path.exists() for path in paths):
    time.sleep(_SECONDS)
  entries = [_entry(path) for path in paths]
  failed = {key: (reason, entry["file"]) for entry in entries
            for key, reason in entry["unreadable"].items()}
  encode_failures.write(target, failed)
  count = sum(entry["examples"] for entry in entries) + len(failed)
  encode_failures.check(target, failed, count)
  index = shard_format.read_index(target)
  classes = [entry["max_label"] for entry in entries]
  index |= {"complete": True, "examples": count - len(failed), "unreadable": len(failed),
            "num_classes": source.num_classes or 1 + max(classes), "shards": entries}
  shard_format.write_json(shard_format.index_path(target), index)
  for path in paths:
    path.unlink()
  return index


def wait(target: pathlib.Path) -> dict[str, Any]:
  """The complete index, when another process has finished it."""
  while not (index := shard_format.read_index(target))["complete"]:
    time.sleep(_SECONDS)
  return index


def _entry(path):
  """The entry of a shard, or None if it is damaged."""
  try:
    return shard_format.read_json(path)
  except ValueError:
    return None
