"""The record of how a folder of samples is drawn, so that none of another kind are added."""

import json
import pathlib
from typing import Any

import jax

_HASHES = ("_sha256", "_checksum")


def check(path: pathlib.Path, directory: pathlib.Path, settings: dict[str, Any], flag: str) -> None:
  """Compares the settings with the record of a folder that was begun; writes nothing.

  Args:
    path: of the record, a JSON file within the folder or outside of it.
    directory: the folder.
    settings: all that the samples depend on, {name: string or number}.
    flag: that names the folder, for errors.

  Raises:
    ValueError: it holds samples of other settings, or files of something else.
  """
  if _begun(path, directory):
    before = _read(path)
    if before is None:
      raise ValueError(f"{directory} is not empty, and {path} does not say how its samples are "
                       f"drawn; choose another --{flag}.")
    if before != settings:
      raise ValueError(f"{directory} has samples of {_differences(before, settings)}; repeat the "
                       f"command that began it, or choose another --{flag}.")


def start(path: pathlib.Path, directory: pathlib.Path, settings: dict[str, Any]) -> None:
  """Makes the folder and writes its record, unless it has samples; arguments as `check`.

  The record is written whole or not at all, by any number of processes with the same settings.
  """
  if _begun(path, directory):
    return
  directory.mkdir(parents=True, exist_ok=True)
  partial = path.with_name(f"{path.name}.{jax.process_index()}.partial")
  partial.write_text(json.dumps(settings, indent=2) + "\n")
  partial.replace(path)


def _begun(path, directory):
  """Whether a folder has files other than its record, and what a killed process left."""
  return directory.exists() and any(file.suffix != ".partial" and file != path
                                    for file in directory.iterdir())


def _read(path):
  """The settings in a record; None if it is missing or is none."""
  try:
    found = json.loads(path.read_text())
  except (FileNotFoundError, ValueError):
    return None
  return found if isinstance(found, dict) else None


def _differences(before, settings) -> str:
  """What differs, each as "num 2, not 3"; what may follow from other differences only by itself.

  Of another workdir everything else may differ, and hashes of what has a name of its own.
  """
  names = [name for name in sorted(before.keys() | settings.keys())
           if before.get(name) != settings.get(name)]
  if "workdir" in names:
    names = ["workdir"]
  plain = [name for name in names if not name.endswith(_HASHES)]
  return " and ".join(f"{name} {before.get(name)!r}, not {settings.get(name)!r}"
                      for name in plain) or " and ".join(
                          f"other {name.rpartition('_')[0].replace('_', ' ')}" for name in names)
