"""A file or directory that appears whole or not at all."""

import contextlib
import errno
import os
import pathlib
import shutil
from collections.abc import Iterator


@contextlib.contextmanager
def whole_or_nothing(target: str | os.PathLike, size: int) -> Iterator[pathlib.Path]:
  """A path next to the target to write to, put in its place on success, removed on failure.

  Args:
    target: file or directory to make; must not exist.
    size: bytes it needs.

  Raises:
    ValueError: it exists, is not on this machine, does not fit its disk or cannot be made.
  """
  if "://" in os.fspath(target):
    raise ValueError(f"{target} is not on this machine; write to a local path and copy it there.")
  target = pathlib.Path(target)
  partial = target.with_name(target.name + ".partial")
  if target.exists():
    raise ValueError(f"{target} exists; remove it or choose another target.")
  if partial.exists():
    raise ValueError(f"{partial} exists, of a conversion that is running or was killed; "
                     "remove it, or choose another target.")
  try:
    disk = next(path for path in target.absolute().parents if path.exists())
    free = shutil.disk_usage(disk).free
    if free < size:
      raise ValueError(f"{target} needs {size / 1e9:.2f} GB, and its disk has {free / 1e9:.2f} "
                       "GB left.")
    target.parent.mkdir(parents=True, exist_ok=True)
    yield partial
    partial.replace(target)
  except BaseException as error:
    remove(partial)
    # tensorstore reports a full disk as a ValueError of many lines.
    if getattr(error, "errno", None) == errno.ENOSPC or os.strerror(errno.ENOSPC) in str(error):
      raise ValueError(f"the disk of {target} is full; nothing was kept.") from error
    if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
      raise ValueError(f"{target} cannot be made ({error}).") from error
    raise


def remove(path: pathlib.Path) -> None:
  """Removes a file or a directory, if there is one."""
  if path.is_dir():
    shutil.rmtree(path)
  elif path.exists():
    path.unlink()
