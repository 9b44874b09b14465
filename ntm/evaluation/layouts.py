"""Prompts and folders of samples as the tools of GenEval and DPG-Bench read them.

  geneval   prompts: its evaluation_metadata.jsonl, one JSON object per line with a "prompt";
            samples: 00000/metadata.jsonl, that object, and 00000/samples/0000.png, 0001.png, ...
  dpg       prompts: its folder of ITEM.txt files; samples: ITEM.png, four pictures of a prompt in
            a grid of 2 x 2, row by row and without padding

What belongs to a prompt is written whole or not at all, so an interrupted run can go on.
"""

import dataclasses
import json
import os
import pathlib
import shutil
from typing import Any

import numpy as np
from PIL import Image

from ntm.evaluation import settings_record
from ntm.sampling import pictures

LAYOUTS = ("geneval", "dpg")
NUM_IMAGES = 4  # Per prompt, in both protocols.


@dataclasses.dataclass(frozen=True)
class Item:
  """A prompt of a benchmark.

  Attributes:
    name: of its folder or file.
    prompt: text.
    metadata: what GenEval's evaluation reads; None in DPG-Bench.
  """

  name: str
  prompt: str
  metadata: dict[str, Any] | None = None


def read(layout: str, path: str) -> list[Item]:
  """The prompts of a benchmark, in order.

  Args:
    layout: one of `LAYOUTS`.
    path: the file of GenEval or the folder of DPG-Bench.

  Raises:
    ValueError: another kind of file, one that is not UTF-8, a line whose prompt is missing or not
      a string, a blank prompt, none at all.
  """
  items = _read_geneval(pathlib.Path(path)) if layout == "geneval" else _read_dpg(
      pathlib.Path(path))
  if blank := [place(layout, path, item) for item in items if not item.prompt.strip()]:
    raise ValueError(f"{blank[0]}: the prompt is blank; expected some text.")
  return items


def place(layout: str, path: str, item: Item) -> str:
  """Where a prompt that `read` gives stands, for errors: "line 3 of FILE" or "FOLDER/ITEM.txt"."""
  if layout == "geneval":
    return f"line {int(item.name) + 1} of {path}"
  return str(pathlib.Path(path) / f"{item.name}.txt")


def check_apart(directory: pathlib.Path, path: str) -> None:
  """Raises ValueError if samples in a folder would be mixed with the prompts, or overwrite them.

  Args:
    directory: value of --output.
    path: value of --prompts_file.
  """
  same = lambda one: os.path.realpath(one) == os.path.realpath(path)
  if same(directory):
    raise ValueError(f"--output is {directory}, the folder of --prompts_file; choose another "
                     "--output.")
  if same(_record_path(directory)):
    raise ValueError(f"--output is {directory}, and how its samples are drawn would be written to "
                     f"{_record_path(directory)}, the file of --prompts_file; choose another "
                     "--output.")


def check_settings(directory: pathlib.Path, settings: dict[str, Any]) -> None:
  """Makes the folder, and next to it DIRECTORY.json, which says how its samples are drawn.

  Raises:
    ValueError: it has samples that are drawn in another way, or other files.
  """
  path = _record_path(directory)
  settings_record.check(path, directory, settings, "output")
  settings_record.start(path, directory, settings)


def is_done(layout: str, directory: pathlib.Path, item: Item, num: int) -> bool:
  """Whether all samples of a prompt, of `num` pictures, are there and undamaged."""
  if layout == "dpg":
    return _is_picture(_grid_path(directory, item))
  folder = directory / item.name
  metadata = folder / "metadata.jsonl"
  return (metadata.is_file() and metadata.read_bytes() == _metadata(item).encode()
          and all(_is_picture(_sample_path(folder, i)) for i in range(num)))


def write(layout: str, directory: pathlib.Path, item: Item, images: np.ndarray) -> None:
  """Writes the samples [num, H, W, 1 or 3] of a prompt, in [-1, 1] or clipped to it."""
  pixels = pictures.to_uint8(images)
  if layout == "dpg":
    rows = pixels.reshape(2, 2, *pixels.shape[1:])
    pictures.save(_grid_path(directory, item), np.concatenate(
        [np.concatenate(list(row), axis=1) for row in rows], axis=0))
    return
  folder, partial = directory / item.name, directory / f"{item.name}.partial"
  for path in (partial, folder):  # What is there is damaged.
    shutil.rmtree(path, ignore_errors=True)
  for i, image in enumerate(pixels):
    pictures.save(_sample_path(partial, i), image)
  (partial / "metadata.jsonl").write_text(_metadata(item), encoding="utf-8")
  partial.rename(folder)


def _record_path(directory):
  return directory.with_name(f"{directory.name}.json")


def _grid_path(directory, item):
  return directory / f"{item.name}.png"


def _sample_path(folder, i):
  return folder / "samples" / f"{i:04}.png"


def _metadata(item):
  return json.dumps(item.metadata) + "\n"


def _is_picture(path):
  """Whether a PNG file is there as it was written, by its checksums."""
  try:
    with Image.open(path) as image:
      image.verify()
    return True
  except (OSError, SyntaxError):  # Pillow raises the latter for a wrong checksum.
    return False


def _read_geneval(path) -> list[Item]:
  try:
    # Blank lines at the end are no prompts; one in between would shift the others' numbers.
    lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(f"{path} cannot be read ({error}); expected GenEval's "
                     "evaluation_metadata.jsonl.") from error
  items = []
  for i, line in enumerate(lines):
    try:
      metadata = json.loads(line)
    except ValueError:
      metadata = None
    if not isinstance(metadata, dict) or not isinstance(metadata.get("prompt"), str):
      raise ValueError(f"line {i + 1} of {path} is {line!r:.80}; expected a JSON object with a "
                       "\"prompt\", a string, as in GenEval's evaluation_metadata.jsonl.")
    items.append(Item(f"{i:05}", metadata["prompt"], metadata))
  if not items:
    raise ValueError(f"{path} has no prompts; expected at least one.")
  return items


def _read_dpg(path) -> list[Item]:
  if not path.is_dir():
    problem = "is not a folder" if path.exists() else "does not exist"
    raise ValueError(f"{path} {problem}; expected DPG-Bench's folder of ITEM.txt files.")
  items = []
  for file in sorted(path.glob("*.txt")):
    try:
      items.append(Item(file.stem, file.read_text(encoding="utf-8-sig").strip()))
    except (OSError, UnicodeDecodeError) as error:
      raise ValueError(f"{file} cannot be read ({error}); expected a prompt of DPG-Bench as UTF-8 "
                       "text.") from error
  if not items:
    raise ValueError(f"{path} has no ITEM.txt files; expected DPG-Bench's folder, which has a file "
                     "per prompt.")
  return items
