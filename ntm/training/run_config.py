"""config.json of a workdir: written at the start, checked when a run resumes."""

import json
import logging
import os

from etils import epath

from ntm import config as config_lib
from ntm.config import Config
from ntm.training import processes

TEACHER_FILE = "teacher.json"  # In the workdir of a denoiser, see `distillation`.
_LOG = logging.getLogger("ntm")


def prepare(workdir: str | os.PathLike, config: Config) -> None:
  """Makes the workdir and writes config.json, or checks the one that is there.

  Raises:
    ValueError: the workdir was written with another model, or cannot be written.
  """
  written = read(workdir)
  if written is not None:
    changes = _differences(config_lib.to_dict(written), config_lib.to_dict(config))
    fixed = ["model.", "process.num_steps"]
    if (epath.Path(workdir) / TEACHER_FILE).exists():
      fixed.append("denoiser.")  # Of no use to an NTM, whose config has it too.
    free = ("model.remat", "model.unroll", "model.dtype", "model.inverse")
    fatal = [c for c in changes if c.startswith(tuple(fixed)) and not c.startswith(free)]
    if fatal:
      raise ValueError(f"{workdir} was written with another model: {'; '.join(fatal)}. "
                       "Use that config, or a new workdir.")
    for change in changes:
      _LOG.warning("resuming with another config: %s", change)
  if not processes.is_first():
    return
  path = _path(workdir)
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(config_lib.to_dict(config), indent=2) + "\n")
    partial.replace(path)
  except OSError as error:
    raise ValueError(f"workdir {workdir} cannot be written ({error.strerror}); choose "
                     "another --workdir or change its permissions.") from error


def check_same(config: Config, **flags) -> None:
  """Raises ValueError unless every process has this config and these flags; all must ask.

  They run one program: of two configs it would at best never end.
  """
  first, *others = map(json.loads, processes.texts_of_all(
      json.dumps(config_lib.to_dict(config) | flags)))
  for number, other in enumerate(others, start=1):
    if changes := _differences(first, other):
      what = "; ".join(changes).replace(", was ", ", on the first one ")
      raise ValueError(f"the processes of this run have different configs: on process {number} "
                       f"{what}. Start all with the same command.")


def read(workdir: str | os.PathLike) -> Config | None:
  """The config of a workdir, or None if it has none."""
  path = _path(workdir)
  return config_lib.from_dict(json.loads(path.read_text())) if path.exists() else None


def _path(workdir):
  return epath.Path(workdir) / "config.json"


def _differences(old, new, prefix=""):
  changes = []
  for key in sorted(set(old) | set(new)):
    a, b = old.get(key), new.get(key)
    if isinstance(a, dict) and isinstance(b, dict):
      changes += _differences(a, b, f"{prefix}{key}.")
    elif a != b:
      changes.append(f"{prefix}{key} is {b!r}, was {a!r}")
  return changes
