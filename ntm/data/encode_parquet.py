"""Parquet files for `ntm encode`: a column of image bytes, and captions or classes.

The image is a column `image`, `jpg`, `png` or `webp`, of bytes or, as Hugging Face
datasets write it, of {bytes, path}; the caption is `caption`, `text` or `txt`, the
class `label` or `cls`. A chunk is consecutive row groups of one file.
"""

import os
from collections.abc import Iterable, Iterator

from ntm.data import encode_sources
from ntm.data.encode_sources import FIELDS, Example, Item
from ntm.data.unreadable import UnreadableError

_IMAGES = ("image", "jpg", "png", "webp")
_COLUMNS = {"label": ("label", "cls"), "caption": ("caption", "text", "txt")}
_ROWS = 64  # Read at a time.


class ParquetChunks:
  """Rows of Parquet files, at least a row group and about `chunk_size` per chunk."""

  num_classes = 0

  def __init__(self, source: str, chunk_size: int):
    """Reads the footers of all files.

    Args:
      source: a file, a directory of them, or a pattern.
      chunk_size: row groups are joined as long as there are at most so many rows.

    Raises:
      ValueError: no files, a damaged one, or one without the columns.
      ImportError: pyarrow is not installed.
    """
    try:
      from pyarrow import parquet
    except ImportError as error:
      raise ImportError("Parquet files are read by pyarrow: pip install 'ntm[parquet]'") from error
    self._paths = encode_sources.files(source, (".parquet",))
    self._chunks, self.weights, columns = [], [], None  # Chunks: (file, first row, row groups).
    for path in self._paths:
      try:
        metadata = parquet.ParquetFile(path).metadata
        names = parquet.read_schema(path).names
      except (OSError, ValueError) as error:  # Errors of pyarrow are either.
        raise ValueError(f"{path} cannot be read as Parquet ({str(error).partition('.')[0]}); "
                         "replace it by a whole copy.") from error
      columns = columns or names
      if names != columns:
        raise ValueError(f"{path} has columns {', '.join(names)}, and {self._paths[0]} has "
                         f"{', '.join(columns)}; encode files of one kind at a time.")
      rows = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
      for first, groups in _join(rows, chunk_size):
        self._chunks.append((path, first, groups))
        self.weights.append(sum(rows[i] for i in groups))
    self.num_examples = sum(self.weights)
    find = lambda known: next((name for name in known if name in columns), None)
    self._image = find(_IMAGES)
    if self._image is None:
      raise ValueError(f"{self._paths[0]} has columns {', '.join(columns)}; expected images in one "
                       f"of {', '.join(_IMAGES)}.")
    found = {field: find(_COLUMNS[field]) for field in FIELDS}
    self._columns = {field: name for field, name in found.items() if name}
    self.fields = tuple(self._columns)
    if not self.num_examples:
      raise ValueError(f"--source is {source}, of {len(self._paths)} Parquet files without rows; "
                       "check the path.")

  def chunk(self, number: int) -> Iterator[Item]:
    """The rows of a chunk, in order; ValueError if the file is damaged."""
    from pyarrow import parquet
    path, row, groups = self._chunks[number]
    try:
      with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(_ROWS, groups,
                                       [self._image, *self._columns.values()]):
          for example in batch.to_pylist():
            key = f"{path.name}/{row}"
            yield Item(key, lambda size, key=key, example=example: self._load(
                key, example, f"{os.fspath(path)}, row {key.rpartition('/')[2]}", size))
            row += 1
    except OSError as error:
      raise ValueError(f"{path} cannot be read as Parquet ({str(error).partition('.')[0]}); "
                       "replace it by a whole copy and run the command again: it continues."
                       ) from error

  def chunk_name(self, number: int) -> str:
    """File and range of its rows."""
    path, first, _ = self._chunks[number]
    return f"{path.name}, rows {first} to {first + self.weights[number] - 1}"

  def names(self) -> Iterable[str]:
    """The columns, the names of the files, and the chunks."""
    return [self._image, *self._columns.values(),
            *(f"{path.name} {first} {groups}" for path, first, groups in self._chunks)]

  def _load(self, key, example, path, size):
    image = example[self._image]
    data = image.get("bytes") if isinstance(image, dict) else image
    if not isinstance(data, bytes):
      raise UnreadableError(key, f"its {self._image} is of type {type(data).__name__}; expected "
                            "bytes", path)
    image = encode_sources.decode(key, data, path)
    values = {field: example[name] for field, name in self._columns.items()}
    label, caption = values.get("label"), values.get("caption")
    if label is not None:
      label = encode_sources.integer(key, label, path)
    if caption is not None and not isinstance(caption, str):
      raise UnreadableError(key, f"its caption is of type {type(caption).__name__}; expected a "
                            "string", path)
    return Example(encode_sources.pixels(image, size), label, caption and caption.strip())


def _join(rows, size):
  """(first row, row groups) of chunks, of row groups with these numbers of rows."""
  start, groups, count = 0, [], 0
  for i, more in enumerate(rows):
    if groups and count + more > size:
      yield start, groups
      start, groups, count = start + count, [], 0
    groups.append(i)
    count += more
  if count:
    yield start, groups
