"""Ways to damage files of parameters, for fuzzing."""

import json
import math
import pathlib
import struct

import numpy as np


def damage(rng: np.random.Generator, path: pathlib.Path) -> None:
  """Flips, cuts, clears, doubles or takes away bytes of a file."""
  data = bytearray(path.read_bytes())
  start = int(rng.integers(max(len(data), 1)))
  length = int(rng.integers(1, 65))
  kind = rng.integers(7)
  if kind <= 1:
    for i in range(start, min(start + length, len(data))):
      data[i] ^= 1 << int(rng.integers(8))
  elif kind == 2:
    del data[start:]
  elif kind == 3:
    data[start:start + length] = bytes(len(data[start:start + length]))
  elif kind == 4:
    data[start:start] = data[start:start + length]
  elif kind == 5:
    del data[start:start + length]
  else:
    path.unlink()
    if rng.random() < 0.5:
      path.mkdir()
    return
  path.write_bytes(data)


def damage_header(rng: np.random.Generator, path: pathlib.Path) -> None:
  """Damages what says where the numbers of a .safetensors file are, or cuts the file."""
  data = path.read_bytes()
  (size,) = struct.unpack("<Q", data[:8])
  kind = rng.integers(4)
  if kind == 0:
    path.write_bytes(data[:int(rng.integers(len(data)))])
    return
  if kind == 1:
    text = bytearray(data[:8 + size])
    for _ in range(rng.integers(1, 5)):
      text[rng.integers(len(text))] = rng.integers(256)
    path.write_bytes(bytes(text) + data[8 + size:])
    return
  header = json.loads(data[8:8 + size])
  name = _pick(rng, [key for key in header if key != "__metadata__"])
  entry = header[name]
  if kind == 2:
    entry |= _pick(rng, [
        {"dtype": "I32"}, {"dtype": "BOOL"}, {"dtype": "F8_E4M3"}, {"dtype": None}, {"shape": []},
        {"shape": entry["shape"][::-1] + [1]}, {"shape": [math.prod(entry["shape"])]},
        {"shape": [-1]}, {"data_offsets": [0, 4]}, {"data_offsets": [0, 2**63]},
        {"data_offsets": [n + 4 for n in entry["data_offsets"]]}, {"data_offsets": None}])
    if len(entry["shape"] or []) > 1 and rng.random() < 0.3:
      entry["shape"] = [math.prod(entry["shape"])]
  else:
    header[_pick(rng, [name + "x", "", name])] = header.pop(name)
  text = json.dumps(header).encode()
  if rng.random() < 0.2:
    text = text[:-1] + b"," + json.dumps({name: entry})[1:].encode()  # A key twice.
  path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size:])


def _pick(rng, values):
  return values[rng.integers(len(values))]
