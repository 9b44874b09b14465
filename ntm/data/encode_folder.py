"""A folder of images for `ntm encode`: with classes, with captions in text files, or with a CSV.

- One CSV file in the folder, with columns `file` (relative to it) and `caption`:
  its rows are the examples.
- Otherwise, if the first image has a NAME.txt next to it: captions.
- Otherwise sub-directories are classes, as in `ntm.data.folder`; without
  sub-directories there is no class.
"""

import csv
import os
import pathlib
from collections.abc import Iterable, Iterator

from ntm.data import encode_sources, folder, images
from ntm.data.encode_sources import Example, Item
from ntm.data.unreadable import UnreadableError


class FolderChunks:
  """Images below a directory, `chunk_size` consecutive ones per chunk."""

  def __init__(self, path: str, chunk_size: int):
    """Lists the files.

    Raises:
      ValueError: not a directory, no images, or a CSV without the columns.
    """
    self._root = pathlib.Path(path)
    if not self._root.is_dir():
      raise ValueError(f"--source is {path}, which is not a directory; expected the folder of "
                       "images.")
    tables = sorted(path for path in self._root.glob("*.csv") if path.is_file())
    if len(tables) > 1:
      raise ValueError(f"--source is {path}, which holds {len(tables)} CSV files; expected at most "
                       "one, with columns file and caption.")
    self.num_classes, self._labels, self._captions = 0, None, None
    if tables:
      self._names, self._captions = _read_table(tables[0])
      self.fields = ("caption",)
    else:
      classes = folder.files_by_class(path, captions=True)
      self._names = [name for names in classes.values() for name in names]
      if self._names and self._text(self._names[0]).exists():
        self.fields = ("caption",)
      elif "" not in classes:
        self.fields, self.num_classes = ("label",), len(classes)
        self._labels = [label for label, names in enumerate(classes.values()) for _ in names]
      else:
        self.fields = ()
    if not self._names:
      raise ValueError(f"--source is {path}, where there are no images "
                       f"({', '.join(sorted(images.SUFFIXES))}); check the path.")
    self.num_examples = len(self._names)
    self._ranges = encode_sources.ranges(self.num_examples, chunk_size)
    self.weights = [stop - start for start, stop in self._ranges]

  def chunk(self, number: int) -> Iterator[Item]:
    """The examples of a chunk, in order."""
    for index in range(*self._ranges[number]):
      yield Item(self._names[index], lambda size, index=index: self._load(index, size))

  def chunk_name(self, number: int) -> str:
    """Its range of the list of files."""
    start, stop = self._ranges[number]
    return f"files {start} to {stop - 1}, {self._names[start]} to {self._names[stop - 1]}"

  def names(self) -> Iterable[str]:
    """Names of the files with their captions in a CSV, and the chunks."""
    yield from self._names
    yield from self._captions or ()
    yield str(self._ranges)

  def _load(self, index, size):
    name = self._names[index]
    image = folder.read(self._root, name)
    label = self._labels[index] if self._labels else None
    caption = self._captions[index] if self._captions else None
    if self.fields == ("caption",) and caption is None:
      path = self._text(name)
      try:
        caption = path.read_text(encoding="utf-8").strip()
      except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise UnreadableError(name, f"its caption {path.name} cannot be read: {reason}",
                              os.fspath(self._root / name)) from error
    return Example(encode_sources.pixels(image, size), label, caption)

  def _text(self, name):
    """File with the caption of an image."""
    return (self._root / name).with_suffix(".txt")


def _read_table(path):
  """(names, captions) of the rows of a CSV file."""
  try:
    with open(path, newline="", encoding="utf-8-sig") as file:
      rows = list(csv.DictReader(file))
  except (UnicodeDecodeError, csv.Error) as error:
    raise ValueError(f"{path} cannot be read as CSV ({error}); expected UTF-8 text with columns "
                     "file and caption.") from error
  if rows and not {"file", "caption"} <= rows[0].keys():
    raise ValueError(f"{path} has columns {', '.join(map(str, rows[0]))}; expected file and "
                     "caption.")
  for number, row in enumerate(rows, start=1):
    if not row["file"] or row["caption"] is None:
      raise ValueError(f"{path} has no file or no caption in row {number}; complete or remove it.")
  return [row["file"] for row in rows], [row["caption"].strip() for row in rows]
