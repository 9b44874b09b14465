"""Files and directories that appear complete or not at all."""

import contextlib
import errno
import os
import pathlib
import shutil
from collections.abc import Iterator


def local_path(target: str | os.PathLike) -> pathlib.Path:
  """The path of a file or directory; raises ValueError if it is in a bucket."""
  if "://" in os.fspath(target):
    raise ValueError(f"{target} is not on this machine; write to a local path and copy it there.")
  return pathlib.Path(target)


def new_path(target: str | os.PathLike) -> pathlib.Path:
  """The path of a file or directory to make; raises ValueError if it exists or is being made."""
  target = local_path(target)
  if target.exists():
    raise ValueError(f"{target} exists; remove it or choose another target.")
  if _partial(target).exists():
    raise ValueError(f"{_partial(target)} exists, of a conversion that is running or was killed; "
                     "remove it, or choose another target.")
  return target


@contextlib.contextmanager
def whole_or_nothing(target: str | os.PathLike, size: int) -> Iterator[pathlib.Path]:
  """Yields TARGET.partial to write to; renames it on success, removes it on failure.

  Raises ValueError if the target exists, cannot be made, or its `size` in bytes does not fit
  the disk.
  """
  target = new_path(target)
  partial = _partial(target)
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
    if partial.is_dir():
      shutil.rmtree(partial)
    elif partial.exists():
      partial.unlink()
    # tensorstore reports a full disk as a ValueError of many lines.
    if getattr(error, "errno", None) == errno.ENOSPC or os.strerror(errno.ENOSPC) in str(error):
      raise ValueError(f"the disk of {target} is full; nothing was kept.") from error
    if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
      raise ValueError(f"{target} cannot be made ({error}).") from error
    raise


def _partial(target):
  return target.with_name(target.name + ".partial")
