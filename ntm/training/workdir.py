"""The workdir of a run: its paths, and config.json, checked at the start and written afterwards."""

import errno
import json
import logging
import os
import pathlib
import tempfile

from etils import epath

from ntm import config as config_lib
from ntm.config import Config, renamed
from ntm.training import multihost

TEACHER_FILE = "teacher.json"  # Only in the workdir of a denoiser, see `ntm.training.teacher`.
_LOG = logging.getLogger("ntm")
# Keys that change no parameter: a run may resume with other values.
_FREE = ("model.remat", "model.unroll", "model.dtype", "model.inverse",
         "model.attention_kernel")


def is_bucket(path: str | os.PathLike) -> bool:
  """Whether a path is in a bucket, such as gs://bucket/run, rather than on a disk."""
  return "://" in os.fspath(path)


def absolute(workdir: str | os.PathLike) -> str:
  """The same path from every directory, for records; a bucket has it already."""
  return os.fspath(workdir) if is_bucket(workdir) else os.path.abspath(workdir)


def checkpoints(workdir: str | os.PathLike) -> epath.Path:
  """The directory of the checkpoints, absolute as Orbax requires."""
  path = epath.Path(workdir)
  return (path if is_bucket(workdir) else path.absolute()) / "checkpoints"


def check(workdir: str | os.PathLike, config: Config) -> None:
  """Raises ValueError if a run cannot write here, or resume with this config; writes nothing.

  Any config can start where no checkpoint has been saved.
  """
  problem = "" if is_bucket(workdir) else why_not_writable(workdir)
  if problem:
    raise ValueError(f"workdir {workdir} cannot be written ({problem}); choose another --workdir "
                     "or change its permissions.")
  if not started(workdir):
    return
  fixed = ["model.", "process.num_steps", "text.template", "text.hidden_states", "text.lengths"]
  if (epath.Path(workdir) / TEACHER_FILE).exists():
    fixed.append("denoiser.")  # An NTM has these keys in its config, and does not use them.
  fatal = [change for change in _changes(workdir, config)
           if change.startswith(tuple(fixed)) and not change.startswith(_FREE)]
  if fatal:
    raise ValueError(f"{workdir} was written with another model: {'; '.join(fatal)}. "
                     "Use that config, or a new workdir.")


def prepare(workdir: str | os.PathLike, config: Config) -> None:
  """Makes the workdir and writes config.json, on the primary process; errors as `check`."""
  check(workdir, config)
  if not multihost.is_primary_process():
    return
  for change in _changes(workdir, config) if started(workdir) else ():
    _LOG.warning("resuming with another config: %s", change)
  path = _path(workdir)
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(config_lib.to_dict(config), indent=2) + "\n")
    partial.replace(path)
  except OSError as error:
    raise ValueError(f"workdir {workdir} cannot be written ({error.strerror}); choose "
                     "another --workdir or change its permissions.") from error


def started(workdir: str | os.PathLike) -> bool:
  """Whether a run has saved a checkpoint here, which fixes its model and data."""
  directory = checkpoints(workdir)
  return directory.exists() and any(path.name.isdigit() for path in directory.iterdir())


def check_same(config: Config, **flags) -> None:
  """Raises ValueError unless all processes have this config and these flags; collective.

  Processes of different configs would run different programs and wait for each other forever.
  """
  first, *others = map(json.loads, multihost.allgather_strings(
      json.dumps(config_lib.to_dict(config) | flags)))
  for number, other in enumerate(others, start=1):
    if changes := _differences(first, other, "on process 0 it is"):
      raise ValueError(f"the processes of this run have different configs: on process {number} "
                       f"{'; '.join(changes)}. Start all with the same command.")


def read(workdir: str | os.PathLike) -> Config | None:
  """The config of a workdir, or None if it has none."""
  path = _path(workdir)
  if not path.exists():
    return None
  try:
    return config_lib.from_dict(renamed.to_current(json.loads(path.read_text())))
  except ValueError as error:
    raise ValueError(f"{path} is damaged or of another version of ntm ({str(error).rstrip('.')}); "
                     "restore it from a copy, or use another workdir.") from error


def why_not_writable(path: str | os.PathLike, is_file: bool = False) -> str:
  """Why a local directory, or a file, cannot be made or written; empty if it can.

  Tries a file without a name, or one that is gone at once: the permissions alone say that root may
  write anywhere, also where no file can be made, such as /proc.
  """
  path = pathlib.Path(os.path.abspath(path))
  try:
    if path.is_dir():
      if is_file:
        return os.strerror(errno.EISDIR)
    elif path.exists():
      return "" if is_file and os.access(path, os.W_OK) else os.strerror(
          errno.EACCES if is_file else errno.ENOTDIR)
    while not path.exists():
      path = path.parent
  except OSError as error:
    return error.strerror
  if not path.is_dir():
    return os.strerror(errno.ENOTDIR)
  try:
    with tempfile.TemporaryFile(dir=path):
      return ""
  except OSError as error:
    return error.strerror


def _path(workdir):
  return epath.Path(workdir) / "config.json"


def _changes(workdir, config):
  """Keys in which the config differs from that of the workdir, with both values."""
  written = read(workdir)
  return [] if written is None else _differences(
      config_lib.to_dict(written), config_lib.to_dict(config), "was")


def _differences(old, new, verb, prefix=""):
  """["key is NEW, <verb> OLD"] of two nested dicts."""
  changes = []
  for key in sorted(set(old) | set(new)):
    a, b = old.get(key), new.get(key)
    if isinstance(a, dict) and isinstance(b, dict):
      changes += _differences(a, b, verb, f"{prefix}{key}.")
    elif a != b:
      changes.append(f"{prefix}{key} is {b!r}, {verb} {a!r}")
  return changes
