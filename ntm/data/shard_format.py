"""Shards of encoded images: what a record, a shard and a directory of shards hold.

A directory of `ntm encode` holds

  index.json               settings, and the complete shards once all are
  shard-000000.array_record, ...
  shard-000000.json, ...   while images are encoded: the entry of a complete shard
  unreadable.txt           examples that were left out, if any

A record is the length of a header (uint32, little-endian), the header, JSON with
"key" and, if there are any, "label" and "caption", and the posterior moments of
the image and of its mirror image, float16 [2 (image, mirror), 2 (mean, standard
deviation), h, w, c]. They are raw: a family's scale and shift are not applied.

float16 keeps values above 6.1e-5 to a relative 2^-11 = 4.9e-4 (bfloat16: 2.0e-3)
and smaller ones to 3.0e-8; a standard deviation, exp(logvar / 2) with logvar in
[-30, 20], is within its range.
"""

import hashlib
import json
import math
import os
import pathlib
import struct
from typing import Any

import numpy as np

from ntm import checksums

VERSION = 1
DTYPE = np.dtype("<f2")
WRITER_OPTIONS = "group_size:1,uncompressed"  # One record per read; compressed reads take 5 times.
UNREADABLE = "unreadable.txt"
_INDEX = "index.json"
_LENGTH = struct.Struct("<I")


def pack(header: dict[str, Any], moments: np.ndarray) -> bytes:
  """A record of a header and float16 moments [2, 2, h, w, c]."""
  text = json.dumps(header, ensure_ascii=False).encode(errors="surrogatepass")
  return _LENGTH.pack(len(text)) + text + np.ascontiguousarray(moments, DTYPE).tobytes()


def unpack(record: bytes, latent_shape: tuple[int, ...]) -> tuple[dict[str, Any], np.ndarray]:
  """(header, moments [2, 2, *latent_shape] float16) of a record.

  Raises:
    ValueError: the record has another size.
  """
  size = 4 * math.prod(latent_shape) * DTYPE.itemsize
  start = _LENGTH.size + (_LENGTH.unpack_from(record)[0] if len(record) >= _LENGTH.size else 0)
  if len(record) != start + size:
    raise ValueError(f"a record has {len(record)} bytes; expected {start + size}")
  header = json.loads(record[_LENGTH.size:start].decode(errors="surrogatepass"))
  return header, np.frombuffer(record, DTYPE, offset=start).reshape(2, 2, *latent_shape)


def shard_name(number: int) -> str:
  """File of a shard."""
  return f"shard-{number:06}.array_record"


def entry_path(directory: str | os.PathLike, number: int) -> pathlib.Path:
  """File with the entry of a complete shard, while images are encoded."""
  return pathlib.Path(directory) / f"shard-{number:06}.json"


def index_path(directory: str | os.PathLike) -> pathlib.Path:
  """File of the index."""
  return pathlib.Path(directory) / _INDEX


def write_json(path: pathlib.Path, record: dict[str, Any]) -> None:
  """Writes a record with a checksum of itself: all of it, or nothing."""
  partial = path.with_name(path.name + ".partial")
  with open(partial, "w", encoding="utf-8", errors="surrogatepass") as file:
    json.dump(checksums.seal(record), file, indent=1)
    file.write("\n")
    file.flush()
    os.fsync(file.fileno())
  partial.replace(path)


def read_json(path: pathlib.Path) -> dict[str, Any]:
  """What `write_json` wrote.

  Raises:
    FileNotFoundError: no such file.
    ValueError: it is damaged.
  """
  try:
    return checksums.unseal(path.read_text(encoding="utf-8"), str(path), required=True)
  except UnicodeDecodeError as error:
    raise checksums.DamagedError(f"{path} is damaged: it is not text.") from error


def read_index(directory: str | os.PathLike) -> dict[str, Any]:
  """The index of a directory of shards, which may be incomplete.

  Raises:
    ValueError: there is none, or it is damaged or of another version.
  """
  path = index_path(directory)
  if not path.is_file():
    raise ValueError(f"{path} does not exist; expected a directory of shards, as `ntm encode` "
                     "writes it.")
  index = read_json(path)
  if index.get("version") != VERSION:
    raise ValueError(f"{path} is of version {index.get('version')}, and this ntm reads version "
                     f"{VERSION}; encode the images again, or use the ntm that wrote it.")
  return index


def digest(path: pathlib.Path) -> str:
  """SHA-256 of a file; empty if it is not there."""
  if not path.is_file():
    return ""
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()
