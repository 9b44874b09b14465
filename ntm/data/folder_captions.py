"""Captions of the images in a folder: in one CSV file, or in a text file next to each image.

- One CSV file in the folder, with columns `file` (relative to it) and `caption`: its
  rows are the examples.
- Otherwise NAME.txt next to NAME.png, NAME.jpg and so on.
"""

import csv
import os
import pathlib
from typing import Any

from ntm.data import folder, images
from ntm.data.unreadable import UnreadableError


class CaptionedFolder:
  """Images below a directory, each with its caption.

  The images in order are dealt out so that a test fraction f takes every (1/f)-th; all captions
  of an image are in the same split.

  Attributes:
    names: file of every example, relative to the directory, with slashes.
  """

  def __init__(self, path: str, split: str, image_shape: tuple[int, ...], test_fraction: float):
    """Lists the files; text files are read with their images.

    Raises:
      ValueError: not a directory, no images, images without a caption, or a CSV without columns.
    """
    self._root, self._shape = folder.directory(path), image_shape
    rows = table(self._root, "config.data.path")
    if rows is None:
      classes = folder.files_by_class(path, log=split == "train", captions=True)
      names = [name for files in classes.values() for name in files]
      _check_all(self._root, names)
      rows = names, [None] * len(names)
    place = {name: i for i, name in enumerate(dict.fromkeys(rows[0]))}
    chosen = [(name, caption) for name, caption in zip(*rows)
              if folder.in_split(place[name], split, test_fraction)]
    folder.check_some(chosen, path, split)
    self.names = [name for name, _ in chosen]
    self._captions = [caption for _, caption in chosen]

  def __len__(self) -> int:
    return len(self.names)

  def __getitem__(self, index: int) -> dict[str, Any]:
    """{"image", "caption"}; UnreadableError if one of them cannot be used."""
    name, caption = self.names[index], self._captions[index]
    image = images.example(folder.read(self._root, name), 0, self._shape)["image"]
    return {"image": image, "caption": text_of(self._root, name) if caption is None else caption}

  def record(self) -> list[str]:
    """The files of this split."""
    return self.names


def table(root: pathlib.Path, where: str) -> tuple[list[str], list[str]] | None:
  """(names, captions) of the rows of the CSV file in a directory; None without one.

  Args:
    root: the directory.
    where: key or flag that names it, for errors.

  Raises:
    ValueError: several files, or one that is not a table of captions.
  """
  paths = sorted(path for path in root.glob("*.csv") if path.is_file())
  if len(paths) > 1:
    raise ValueError(f"{where} is {root}, which holds {len(paths)} CSV files; expected at most "
                     "one, with columns file and caption.")
  return _read(paths[0]) if paths else None


def text_path(root: pathlib.Path, name: str) -> pathlib.Path:
  """File with the caption of an image."""
  return (root / name).with_suffix(".txt")


def text_of(root: pathlib.Path, name: str) -> str:
  """The caption in the text file next to an image; UnreadableError if there is none."""
  path = text_path(root, name)
  try:
    caption = path.read_text(encoding="utf-8-sig").strip()
    reason = "" if caption else "it is blank"
  except (OSError, UnicodeDecodeError) as error:
    reason = getattr(error, "strerror", None) or "it is not UTF-8"
  if reason:
    raise UnreadableError(name, f"its caption {path.name} cannot be read: {reason}",
                          os.fspath(root / name))
  return caption


def _check_all(root, names):
  """Raises ValueError unless every image has a text file that is not empty."""
  paths = {name: text_path(root, name) for name in names}
  missing = [name for name, path in paths.items() if not path.is_file() or not path.stat().st_size]
  if missing:
    raise ValueError(f"{root} has {len(missing)} of {len(names)} images without a caption "
                     f"({folder.first_few(missing)}); expected NAME.txt next to each, or one CSV "
                     "file in the folder with columns file and caption.")


def _read(path):
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
    if not row["file"] or not (row["caption"] or "").strip():
      raise ValueError(f"{path} has no file or no caption in row {number}; complete or remove it.")
  return [row["file"] for row in rows], [row["caption"].strip() for row in rows]
