"""A folder of images: what counts as a class, as an image, and as a test image.

Hidden files and folders and `__MACOSX` are passed over, symbolic links are
followed, and a link to a folder above itself is not entered again.
"""

import collections
import io
import logging
import os
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from ntm.data import images
from ntm.data.unreadable import UnreadableError

_LOG = logging.getLogger("ntm")


class Folder:
  """Images below a directory; its sub-directories, in order, are the classes.

  In every class the files in order of name are dealt out so that a test
  fraction f takes every (1/f)-th; of a directory without sub-directories all
  images are class 0.

  Attributes:
    num_classes: sub-directories, or 1.
    names: file of every example, relative to the directory, with slashes.
  """

  def __init__(self, path: str, split: str, image_shape: tuple[int, ...], test_fraction: float):
    self._root = directory(path)
    classes = files_by_class(path, log=split == "train")
    self.num_classes, self._shape = len(classes), image_shape
    self.names, self._labels = [], []
    for label, files in enumerate(classes.values()):
      for i, name in enumerate(files):
        if in_split(i, split, test_fraction):
          self.names.append(name)
          self._labels.append(label)
    check_some(self.names, path, split)

  def __len__(self) -> int:
    return len(self.names)

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    """One example, as `images.example` gives it; UnreadableError if its file cannot be used."""
    image = read(self._root, self.names[index])
    return images.example(image, self._labels[index], self._shape)

  def record(self) -> list[str]:
    """The files of this split."""
    return self.names


def directory(path: str) -> pathlib.Path:
  """The directory `config.data.path`; ValueError if it is none."""
  if not path or not pathlib.Path(path).is_dir():
    raise ValueError(f"config.data.path is {path!r}, which is not a directory; expected the "
                     "folder of images.")
  return pathlib.Path(path)


def in_split(position: int, split: str, test_fraction: float) -> bool:
  """Whether the file at a position is in a split: every (1 / fraction)-th is a test image."""
  # floor(i f) steps there.
  test = int((position + 1) * test_fraction) > int(position * test_fraction)
  return test == (split == "test")


def check_some(examples: Sequence, path: str, split: str) -> None:
  """Raises ValueError if there are no examples in a split."""
  if not examples:
    raise ValueError(f"{path} has no {split} images ({', '.join(sorted(images.SUFFIXES))}); "
                     "check config.data.path and config.data.test_fraction.")


def files_by_class(path: str, log: bool = True, captions: bool = False) -> dict[str, list[str]]:
  """{class: image files, relative to the directory}, both in order.

  A directory without sub-directories is one class, "".

  Args:
    path: a directory.
    log: whether to warn of files that are passed over.
    captions: whether .txt files may be captions, which are not warned of.

  Raises:
    ValueError: a sub-directory without images.
  """
  ignored = collections.Counter()
  folders, outside = _entries(path)
  classes = {name: _class(os.path.join(path, name), name, ignored, [os.path.realpath(path)])
             for name in folders}
  if empty := [name for name, files in classes.items() if not files]:
    raise ValueError(f"{path} has folders without images ({first_few(empty)}), and every folder in "
                     "it is a class; remove them, or add their images.")
  if not classes:
    classes = {"": [name for name in outside if _is_image(name, ignored)]}
  elif any(_is_image(name, ignored) for name in outside) and log:
    _LOG.warning("%s has images outside of its class folders; they are not used.", path)
  if captions:
    del ignored[".txt"]
  if ignored and log:
    _LOG.warning("%s has files that are not read as images: %s", path,
                 first_few([f"{count} {suffix or 'without a suffix'}"
                            for suffix, count in sorted(ignored.items())]))
  return classes


def read(root: str | os.PathLike, name: str) -> Image.Image:
  """An image file below a directory, as `images.decode`; UnreadableError if it cannot be used."""
  path = pathlib.Path(root) / name
  try:
    data = path.read_bytes()
    if not data:
      raise ValueError("the file is empty")
    return images.decode(io.BytesIO(data))
  except OSError as error:
    raise UnreadableError(name, error.strerror or str(error), os.fspath(path)) from error
  except ValueError as error:
    raise UnreadableError(name, str(error), os.fspath(path)) from error


def _entries(directory):
  """(names of folders, names of files) in a directory, in order, without hidden ones."""
  folders, files = [], []
  for entry in os.scandir(directory):
    if not entry.name.startswith(".") and entry.name != "__MACOSX":
      (folders if entry.is_dir() else files).append(entry.name)
  return sorted(folders), sorted(files)


def _class(directory, relative, ignored, above):
  """Names of all images below a directory, in the order of pathlib's paths."""
  names = _images(directory, relative, ignored, above)
  return sorted(names, key=lambda name: name.split("/"))


def _images(directory, relative, ignored, above):
  """Names of all images below a directory, which is itself below those of `above`."""
  here = os.path.realpath(directory)
  if here in above:  # A symbolic link to a folder that holds it.
    return []
  folders, files = _entries(directory)
  found = [f"{relative}/{name}" for name in files if _is_image(name, ignored)]
  for name in folders:
    found += _images(os.path.join(directory, name), f"{relative}/{name}", ignored, [*above, here])
  return found


def _is_image(name, ignored):
  suffix = os.path.splitext(name)[1].lower()
  if suffix in images.SUFFIXES:
    return True
  ignored[suffix] += 1
  return False


def first_few(texts: Sequence[str], most: int = 5) -> str:
  """The first of some names, and how many more there are."""
  more = len(texts) - most
  return ", ".join(texts[:most]) + (f" and {more} more" if more > 0 else "")
