"""Failures of the storage that holds the checkpoints: attempts, and errors as one line."""

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import orbax.checkpoint as ocp

from ntm import checksums
from ntm.training import multihost

PAUSES = (1, 5, 25)  # Seconds before each new attempt after a failure.
_LOG = logging.getLogger("ntm")
_MAX_CHARACTERS = 200  # Of an error that a message quotes.


class StorageError(OSError):
  """A checkpoint could not be written in several attempts, or failed on one process alone."""


class Attempts:
  """Runs the operations of a checkpoint manager that can fail, on all processes alike.

  Attributes:
    failures: number of failed attempts so far.
  """

  def __init__(self, manager: ocp.CheckpointManager):
    self._manager, self.failures = manager, 0

  def once(self, action: Callable[[], Any], aim: str) -> tuple[Any, str]:
    """Returns (result, error) of an action; the error is empty if it succeeds.

    Args:
      action: what to run.
      aim: what it does, for messages, such as "write checkpoint 3".

    Raises:
      StorageError: it failed on this process and not on the others, which are now
        waiting for this one inside Orbax.
    """
    try:
      return action(), ""
    except Exception as raised:  # Orbax passes on any error of storage or of damaged files.
      error = summary(raised)
    self.failures += 1
    directory = self._manager.directory
    if not multihost.try_barrier(f"failure {self.failures} in {directory}"):
      raise StorageError(
          f"process {jax.process_index()} alone cannot {aim} in {directory} ({error}). Repair its "
          "storage, or rename the checkpoint that it cannot read to <step>.corrupt, and start "
          "again: the run resumes.")
    return None, error

  def repeat(self, action: Callable[[], Any], aim: str,
             pauses: tuple[int, ...] = PAUSES) -> tuple[Any, str]:
    """As `once`, with another attempt after each of the pauses, in seconds."""
    for pause in pauses:
      result, error = self.once(action, aim)
      if not error:
        return result, ""
      _LOG.warning("cannot %s (%s); trying again in %d s", aim, error, pause)
      time.sleep(pause)
      self._manager.reload()
    return self.once(action, aim)


def summary(error: Exception) -> str:
  """Type and first line of an error, without tensorstore's specification."""
  line = str(error).strip().partition("\n")[0].partition(" [tensorstore_spec")[0]
  line = line if len(line) <= _MAX_CHARACTERS else f"{line[:_MAX_CHARACTERS]}..."
  return line if isinstance(error, checksums.DamagedError) else f"{type(error).__name__}: {line}"


@contextlib.contextmanager
def without_read_only_warning() -> Iterator[None]:
  """Silences Orbax's warning that a manager reads alone, which is what was asked of it."""
  is_other = lambda record: not str(record.msg).startswith("Given directory is read only")
  logger = logging.getLogger("absl")
  logger.addFilter(is_other)
  try:
    yield
  finally:
    logger.removeFilter(is_other)


def ignore_abandoned_reads() -> None:
  """Silences the errors of reads that Orbax abandons when another read of a step fails."""
  previous = sys.unraisablehook
  if getattr(previous, "ignores_abandoned_reads", False):
    return

  def hook(unraisable):
    if str(unraisable.exc_value) != "Event loop is closed":
      previous(unraisable)

  hook.ignores_abandoned_reads = True
  sys.unraisablehook = hook
