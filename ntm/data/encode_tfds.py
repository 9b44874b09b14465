"""A prepared tensorflow-datasets data set for `ntm encode`, as `ntm.data.tfds.Tfds` reads it."""

from collections.abc import Iterable, Iterator

from ntm.data import encode_sources
from ntm.data.encode_sources import Example, Item
from ntm.data.tfds import Tfds


class TfdsChunks:
  """A split with its classes, `chunk_size` consecutive examples per chunk."""

  def __init__(self, name: str, data_dir: str, split: str, image_size: int, chunk_size: int):
    """Opens the data set.

    Raises:
      ValueError: no such data set, one that is not prepared for random access, or of other kind.
      ImportError: tensorflow-datasets is not installed.
    """
    self._source = Tfds(name, data_dir, split, (image_size, image_size, 3))
    self.num_examples = len(self._source)
    self.num_classes = self._source.num_classes if self._source.has_labels else 0
    self.fields = ("label",) if self._source.has_labels else ()
    self._ranges = encode_sources.ranges(self.num_examples, chunk_size)
    self.weights = [stop - start for start, stop in self._ranges]

  def chunk(self, number: int) -> Iterator[Item]:
    """The examples of a chunk, in order."""
    for index in range(*self._ranges[number]):
      yield Item(str(index), lambda size, index=index: self._load(index))

  def chunk_name(self, number: int) -> str:
    """Its range of examples."""
    start, stop = self._ranges[number]
    return f"examples {start} to {stop - 1}"

  def names(self) -> Iterable[str]:
    """Name, version, split and number of the examples, and the chunks."""
    return [*self._source.record(), str(self._ranges)]

  def _load(self, index):
    example = self._source[index]
    label = int(example["label"]) if self.fields else None
    return Example(example["image"], label)
