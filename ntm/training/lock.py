"""One run per workdir at a time: a lock that the kernel takes back however a process ends."""

import contextlib
import fcntl
import os
import pathlib
from collections.abc import Iterator

from ntm.training import multihost
from ntm.training import workdir as workdir_lib


def check(workdir: str | os.PathLike) -> None:
  """Raises ValueError if another run writes there; writes nothing; collective."""
  with contextlib.ExitStack() as stack:
    _lock(workdir, stack)


@contextlib.contextmanager
def held(workdir: str | os.PathLike) -> Iterator[None]:
  """Keeps other runs out of a workdir, which is made; collective.

  Of several processes the primary one holds it. A workdir in a bucket, or on a file system that
  locks no directories, keeps nobody out.

  Raises:
    ValueError: another run writes there.
  """
  if multihost.is_primary_process() and not workdir_lib.is_bucket(workdir):
    pathlib.Path(workdir).mkdir(parents=True, exist_ok=True)
  with contextlib.ExitStack() as stack:
    _lock(workdir, stack)
    yield


def _lock(workdir, stack):
  """Locks a workdir until the stack is closed; ValueError on all processes if it is locked."""
  problem = ""
  if multihost.is_primary_process() and not workdir_lib.is_bucket(workdir):
    try:
      # Of the directory itself, so that no file is left behind.
      descriptor = os.open(workdir, os.O_RDONLY)
      stack.callback(os.close, descriptor)
      fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      problem = (f"workdir {workdir} is in use: another process trains there. Wait until it ends, "
                 "stop it, or choose another --workdir.")
    except OSError:  # It is not there yet, or its file system has no such locks.
      pass
  if problem := multihost.allgather_strings(problem)[0]:
    raise ValueError(problem)
