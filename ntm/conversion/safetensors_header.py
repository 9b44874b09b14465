"""The header of a .safetensors file, beyond what the library checks.

The library refuses tensors whose places overlap, leave gaps, go beyond the file or do
not have the size of their shape and type. Of a name given twice it takes the last.
"""

import json
import pathlib
import struct
from typing import Any


def check(path: pathlib.Path) -> None:
  """Raises ValueError if a name is given twice in the header."""
  with open(path, "rb") as file:
    (size,) = struct.unpack("<Q", file.read(8))
    text = file.read(size)
  try:
    json.loads(text, object_pairs_hook=unique)
  except ValueError as error:
    raise ValueError(f"{path} is damaged: its header is not valid ({error}).") from error


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  """The object of a JSON text, for `json.loads`.

  Raises:
    ValueError: a key is given twice.
  """
  found = dict(pairs)
  if len(found) < len(pairs):
    names = [name for name, _ in pairs]
    raise ValueError(f"{next(n for n in names if names.count(n) > 1)!r} is given twice")
  return found
