"""Images with classes or captions, as `ntm encode` reads them: in chunks, each in order.

A chunk becomes one shard, so what is in a chunk is a function of the source
alone: a run that is resumed, by any number of processes, writes the same shards.
"""

import dataclasses
import glob
import hashlib
import io
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
from PIL import Image

from ntm.data import images
from ntm.data.unreadable import UnreadableError

FIELDS = ("label", "caption")


@dataclasses.dataclass(frozen=True)
class Example:
  """One image, cropped and resized, with what the source says of it.

  Attributes:
    pixels: float32 [size, size, 3] in [-1, 1].
    label: its class, or None.
    caption: or None.
  """

  pixels: np.ndarray
  label: int | None = None
  caption: str | None = None


@dataclasses.dataclass(frozen=True)
class Item:
  """An example that is not yet decoded.

  Attributes:
    key: its name in the source.
    load: side in pixels → the example; may run in any thread. Raises UnreadableError.
  """

  key: str
  load: Callable[[int], Example]


class ChunkedSource(Protocol):
  """A source as `ntm encode` reads it.

  Attributes:
    fields: those of FIELDS that every example has; one without is unreadable.
    num_classes: of the labels, if the source says it, otherwise 0.
    num_examples: None if it is only known after reading.
    weights: relative size of every chunk, in examples if num_examples is known.
  """

  fields: tuple[str, ...]
  num_classes: int
  num_examples: int | None
  weights: Sequence[int]

  def chunk(self, number: int) -> Iterator[Item]:
    """The examples of a chunk, in order."""
    ...

  def chunk_name(self, number: int) -> str:
    """Which examples of the source are in a chunk."""
    ...

  def names(self) -> Iterable[str]:
    """Lines that identify the source and its division into chunks."""
    ...


def fingerprint(source: ChunkedSource) -> str:
  """SHA-256 of the names, fields and chunks of a source; contents of files are not read."""
  digest = hashlib.sha256()
  for line in (*source.fields, str(source.num_classes), *source.names()):
    digest.update(line.encode(errors="surrogateescape") + b"\0")
  return digest.hexdigest()


def ranges(count: int, size: int) -> list[tuple[int, int]]:
  """[start, stop) of consecutive chunks of at most `size` examples."""
  return [(start, min(start + size, count)) for start in range(0, count, size)]


def pixels(image: Image.Image, size: int) -> np.ndarray:
  """An image as `images.example` crops and scales it, [size, size, 3]."""
  return images.example(image, 0, (size, size, 3))["image"]


def decode(key: str, data: bytes, path: str) -> Image.Image:
  """The image in the bytes of a file; UnreadableError if it cannot be used."""
  try:
    if not data:
      raise ValueError("the file is empty")
    return images.decode(io.BytesIO(data))
  except ValueError as error:
    raise UnreadableError(key, str(error), path) from error


def integer(key: str, value, path: str) -> int:
  """A class as an integer from 0; UnreadableError for anything else."""
  try:
    label = int(value)
  except (TypeError, ValueError):
    label = -1
  if not 0 <= label < 2**31 or isinstance(value, float) and value != label:
    raise UnreadableError(key, f"its class is {value!r:.40}; expected an integer from 0", path)
  return label


def files(source: str, suffixes: tuple[str, ...]) -> list[pathlib.Path]:
  """The files of a source, in order of name.

  Args:
    source: a file, a directory, or a pattern such as 'data/train-*.tar'.
    suffixes: of the files that are taken from a directory.

  Raises:
    ValueError: there are none.
  """
  if os.path.isdir(source):
    found = [entry.path for entry in os.scandir(source)
             if entry.name.endswith(suffixes) and not entry.name.startswith(".")]
  else:
    found = [source] if os.path.isfile(source) else glob.glob(source)
  found = sorted(path for path in found if os.path.isfile(path))
  if not found:
    raise ValueError(f"--source is {source}, where there are no {' or '.join(suffixes)} files; "
                     "expected a file, a directory of them, or a pattern such as 'data/train-*"
                     f"{suffixes[0]}'.")
  return [pathlib.Path(path) for path in found]
