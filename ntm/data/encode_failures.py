"""Examples that `ntm encode` cannot read: left out, counted and listed, up to a limit."""

import logging
import pathlib
from collections.abc import Mapping

from ntm.data import shard_format, unreadable

_LOG = logging.getLogger("ntm")
_IN_A_ROW = 100  # If none of them can be read, the storage is gone.


class Failures:
  """Examples of this process that cannot be read.

  Attributes:
    shard: {key: reason} of the current shard.
  """

  def __init__(self, target: pathlib.Path, num_examples: int | None):
    self._target, self._num_examples = target, num_examples
    self._all: dict[str, tuple[str, str]] = {}
    self._in_a_row = 0
    self.shard: dict[str, str] = {}

  def next_shard(self, name: str) -> None:
    """Begins a shard."""
    self._name, self.shard = name, {}

  def add(self, error: unreadable.UnreadableError) -> None:
    """Counts one; ValueError if there are more than allowed, or 100 in a row."""
    self.shard[error.name] = error.reason
    self._all[error.name] = (error.reason, self._name)
    self._in_a_row += 1
    _LOG.warning("%s cannot be read (%s); it is left out.", error.name, error.reason)
    if self._in_a_row >= _IN_A_ROW:
      write(self._target, self._all)
      raise ValueError(f"none of {self._in_a_row} examples in a row can be read: "
                       f"{unreadable.summary(self.shard)}. Check the files and the storage they "
                       "are on.")
    if self._num_examples is not None:
      check(self._target, self._all, self._num_examples)

  def readable(self) -> None:
    """Notes one that can be read."""
    self._in_a_row = 0


def check(target: pathlib.Path, failed: Mapping[str, tuple[str, str]], count: int) -> None:
  """Raises ValueError if more than 1 % of `count` examples cannot be read, after listing them.

  Args:
    target: directory of the shards.
    failed: {key: (reason, file of the shard that lacks it)}.
    count: of all examples.
  """
  most = unreadable.max_unreadable(count)
  if len(failed) > most:
    write(target, failed)
    reasons = {key: reason for key, (reason, _) in failed.items()}
    raise ValueError(f"{len(failed)} examples cannot be read, and at most {most} of {count} may be "
                     f"left out: {unreadable.summary(reasons)}; all are in "
                     f"{target / shard_format.UNREADABLE}. Replace them and run the command again: "
                     "it tries them once more.")


def write(target: pathlib.Path, failed: Mapping[str, tuple[str, str]]) -> None:
  """Lists unreadable examples in a file, one per line: key, tab, reason, tab, shard.

  Without any the file goes.
  """
  path = target / shard_format.UNREADABLE
  if failed:
    text = "".join(f"{key}\t{reason}\t{shard}\n" for key, (reason, shard) in sorted(failed.items()))
    path.write_bytes(text.encode(errors="surrogateescape"))
  else:
    path.unlink(missing_ok=True)
