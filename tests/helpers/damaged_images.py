"""Image files, and ways to damage them, for tests and fuzzing."""

import pathlib
import struct
import zlib

import numpy as np
from PIL import Image

# File name suffix and Pillow's mode.
_FILES = ((".png", "RGB"), (".png", "L"), (".png", "P"), (".png", "LA"), (".png", "I;16"),
          (".jpg", "RGB"), (".jpg", "L"), (".webp", "RGBA"), (".bmp", "RGB"), (".gif", "P"),
          (".tif", "RGB"), (".tif", "I;16"), (".tif", "CMYK"))


def write(rng: np.random.Generator, directory: pathlib.Path) -> pathlib.Path:
  """Writes one sound image of a random kind and size; gives its path."""
  suffix, mode = _FILES[rng.integers(len(_FILES))]
  height, width = rng.integers(1, 40, 2)
  pixels = rng.integers(0, 256, (height, width, 4), np.uint8)
  if mode == "I;16":
    image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
  else:
    image = Image.fromarray(pixels).convert("RGB" if mode == "CMYK" else mode).convert(mode)
  path = directory / f"{rng.integers(10**9):09}{suffix}"
  image.save(path)
  return path


def _truncate(rng, data):
  return data[:rng.integers(len(data))]


def _flip_bytes(rng, data):
  changed = np.frombuffer(data, np.uint8).copy()
  places = rng.integers(len(data), size=rng.integers(1, 33))
  changed[places] ^= rng.integers(1, 256, len(places)).astype(np.uint8)
  return changed.tobytes()


def _flip_in_header(rng, data):
  return _flip_bytes(rng, data[:64]) + data[64:]


def _zero_stretch(rng, data):
  start, end = sorted(rng.integers(len(data) + 1, size=2))
  return data[:start] + bytes(end - start) + data[end:]


def _repeat(rng, data):
  cut = rng.integers(len(data))
  return data[:cut] + data


def _empty(rng, data):
  return b""


def _zeros(rng, data):
  return bytes(len(data))


def _noise(rng, data):
  return rng.bytes(len(data))


def _text(rng, data):
  return b"<html>404 Not Found</html>\n"


def _huge_png(rng, data):
  """A sound header that promises far more pixels than the file has."""
  side = int(rng.integers(20_000, 2**31 - 1))
  chunk = lambda name, body: (struct.pack(">I", len(body)) + name + body
                              + struct.pack(">I", zlib.crc32(name + body)))
  header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
  return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
          + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b""))


def _huge_bmp(rng, data):
  return (b"BM" + struct.pack("<IHHI", 54, 0, 0, 54)
          + struct.pack("<IiiHHIIiiII", 40, *rng.integers(20_000, 2**31 - 1, 2), 1, 24,
                        0, 0, 0, 0, 0, 0))


DAMAGES = {damage.__name__[1:]: damage for damage in (
    _truncate, _flip_bytes, _flip_in_header, _zero_stretch, _repeat, _empty, _zeros, _noise, _text,
    _huge_png, _huge_bmp)}
KINDS = (*DAMAGES, "wrong_suffix", "vanished", "directory")


def damage(rng: np.random.Generator, path: pathlib.Path, kind: str | None = None) -> str:
  """Damages an image file in place.

  Args:
    rng: draws the damage.
    path: of the file, which keeps its name.
    kind: one of KINDS; None draws one.

  Returns:
    The kind. Some leave a file that can still be read.
  """
  kind = kind or KINDS[rng.integers(len(KINDS))]
  if kind == "wrong_suffix":
    others = sorted({suffix for suffix, _ in _FILES} - {path.suffix})
    with Image.open(path) as image:
      other = path.with_suffix(others[rng.integers(len(others))])
      image.convert("RGB").save(other)
    other.replace(path)
  elif kind in ("vanished", "directory"):
    path.unlink()
    if kind == "directory":
      path.mkdir()
  else:
    path.write_bytes(DAMAGES[kind](rng, path.read_bytes()))
  return kind
