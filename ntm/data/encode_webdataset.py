"""WebDataset tars for `ntm encode`: NAME.jpg with NAME.txt, NAME.json or NAME.cls.

A tar is a chunk, read from its start to its end, so that nothing is listed ahead
and compressed tars are read too. An example is the consecutive members of one
name, up to the first dot of the file's name. Its caption is NAME.txt, or "caption"
of NAME.json; its class is NAME.cls, or "label" of NAME.json. What the first
example has, all must have.
"""

import itertools
import json
import os
import tarfile
from collections.abc import Iterable, Iterator

from ntm.data import encode_sources, images
from ntm.data.encode_sources import FIELDS, Example, Item
from ntm.data.unreadable import UnreadableError

_SUFFIXES = (".tar", ".tar.gz", ".tgz")


class WebDatasetChunks:
  """Tars, one per chunk; how many examples they have is known at the end."""

  num_classes, num_examples = 0, None

  def __init__(self, source: str):
    """Reads the first example, to see what there is.

    Args:
      source: a tar, a directory of them, or a pattern.

    Raises:
      ValueError: no tars, or the first is damaged or empty.
    """
    self._paths = encode_sources.files(source, _SUFFIXES)
    self.weights = [os.path.getsize(path) for path in self._paths]
    key, members = next(_examples(self._paths[0]), (None, {}))
    if key is None:
      raise ValueError(f"{self._paths[0]} holds no files; expected images with captions or "
                       "classes, NAME.jpg and NAME.txt.")
    first = os.fspath(self._paths[0] / key)
    values = _label(key, members, first), _caption(key, members, first)
    self.fields = tuple(
        field for field, value in zip(FIELDS, values) if value is not None)

  def chunk(self, number: int) -> Iterator[Item]:
    """The examples of a tar, in order; ValueError if it is damaged."""
    path = self._paths[number]
    for key, members in _examples(path):
      yield Item(f"{path.name}/{key}", lambda size, key=key, members=members: _load(
          f"{path.name}/{key}", members, os.fspath(path / key), size))

  def chunk_name(self, number: int) -> str:
    """The name of the tar."""
    return self._paths[number].name

  def names(self) -> Iterable[str]:
    """The names of the tars."""
    return [path.name for path in self._paths]


def _examples(path) -> Iterator[tuple[str, dict[str, bytes]]]:
  """(name, {suffix: bytes}) of the examples of a tar."""
  try:
    with tarfile.open(path, "r|*") as tar:
      members = ((*_split(member.name), tar.extractfile(member).read())
                 for member in tar if member.isfile() and not _hidden(member.name))
      for key, group in itertools.groupby(members, key=lambda member: member[0]):
        yield key, {suffix: data for _, suffix, data in group}
  except (tarfile.TarError, EOFError, OSError) as error:
    raise ValueError(f"{path} cannot be read as a tar ({error}); replace it by a whole copy and "
                     "run the command again: it continues.") from error


def _split(name):
  """("folder/NAME", ".suffix") of "folder/NAME.suffix", at the first dot of the file's name."""
  folder, _, file = name.rpartition("/")
  stem, _, suffix = file.partition(".")
  return (f"{folder}/{stem}" if folder else stem), f".{suffix.lower()}"


def _hidden(name):
  return name.rpartition("/")[2].startswith(".") or "__MACOSX" in name.split("/")


def _load(key, members, path, size):
  data = next((members[suffix] for suffix in sorted(members) if suffix in images.SUFFIXES), None)
  if data is None:
    raise UnreadableError(key, f"it has {', '.join(sorted(members))} and no image", path)
  image = encode_sources.decode(key, data, path)
  return Example(encode_sources.pixels(image, size), _label(key, members, path),
                 _caption(key, members, path))


def _caption(key, members, path):
  """The caption of an example, or None."""
  if ".txt" in members:
    return _text(key, members[".txt"], path).strip()
  value = _json(key, members, path).get("caption")
  return value.strip() if isinstance(value, str) else None


def _label(key, members, path):
  """The class of an example, or None."""
  value = _json(key, members, path).get("label")
  if ".cls" in members:
    value = _text(key, members[".cls"], path).strip()
  return None if value is None else encode_sources.integer(key, value, path)


def _json(key, members, path):
  """The object in NAME.json; empty without one."""
  if ".json" not in members:
    return {}
  try:
    value = json.loads(_text(key, members[".json"], path))
  except ValueError as error:
    raise UnreadableError(key, f"its .json cannot be read ({error})", path) from error
  return value if isinstance(value, dict) else {}


def _text(key, data, path):
  try:
    return data.decode("utf-8-sig")  # Without a byte-order mark, as editors of Windows write it.
  except UnicodeDecodeError as error:
    raise UnreadableError(key, "its text is not UTF-8", path) from error
