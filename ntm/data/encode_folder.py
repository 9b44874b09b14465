"""A folder of images for `ntm encode`: with classes, with captions in text files, or with a CSV.

- One CSV file in the folder, or a NAME.txt next to the first image: captions, as in
  `ntm.data.folder_captions`.
- Otherwise sub-directories are classes, as in `ntm.data.folder`; without
  sub-directories there is no class.
"""

import pathlib
from collections.abc import Iterable, Iterator

from ntm.data import encode_sources, folder, folder_captions, images
from ntm.data.encode_sources import Example, Item


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
    table = folder_captions.table(self._root, "--source")
    self.num_classes, self._labels, self._captions = 0, None, None
    if table:
      self._names, self._captions = table
      self.fields = ("caption",)
    else:
      classes = folder.files_by_class(path, captions=True)
      self._names = [name for names in classes.values() for name in names]
      if self._names and folder_captions.text_path(self._root, self._names[0]).exists():
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
      caption = folder_captions.text_of(self._root, name)
    return Example(encode_sources.pixels(image, size), label, caption)
