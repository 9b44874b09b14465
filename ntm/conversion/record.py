"""conversion.json of a converted directory: the source, the family and the architecture."""

import hashlib
import json
import os
from typing import Any

from etils import epath

from ntm import checksums

_FILE = "conversion.json"


def write(directory: str | os.PathLike, record: dict[str, Any]) -> None:
  """Writes the record, with a checksum of itself."""
  (epath.Path(directory) / _FILE).write_text(json.dumps(checksums.seal(record), indent=1) + "\n")


def read(directory: str | os.PathLike) -> dict[str, Any]:
  """The record.

  Raises:
    FileNotFoundError: the directory was not converted.
    ValueError: the record is damaged.
  """
  path = epath.Path(directory) / _FILE
  if not path.exists():
    raise FileNotFoundError(f"{directory} holds no {_FILE}: not the target of `ntm convert`.")
  try:
    return checksums.unseal(path.read_text(), str(path))
  except UnicodeDecodeError as error:
    raise checksums.DamagedError(f"{path} is damaged: it is not text.") from error


def digest(path: os.PathLike) -> str:
  """SHA-256 of a file."""
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()
