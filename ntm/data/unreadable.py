"""Examples that cannot be read: others take their place, up to a limit.

Training replaces an unreadable example by the next readable one of its split.
That is a function of the files alone, so the i-th batch stays one of (seed, i),
and an interrupted run equals the uninterrupted one. Evaluation leaves
unreadable examples out.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

import numpy as np

_NAMED = 5  # Examples that an error names.
_ATTEMPTS = 100  # Examples in a row; if none can be read, the storage is gone.


class UnreadableError(ValueError):
  """One example that cannot be read, of a source whose other examples can.

  Attributes:
    name: of the example, a file relative to its source.
    reason: why it cannot be read, one line.
  """

  def __init__(self, name: str, reason: str, path: str):
    """Takes the example's name and, for the message, its full path."""
    super().__init__(f"{path} is not a readable image: {reason}")
    self.name, self.reason = name, reason


class Source(Protocol):
  """A sequence of examples that may be read in any order, by many threads."""

  def __len__(self) -> int: ...
  def __getitem__(self, index: int) -> dict[str, np.ndarray]: ...


def max_unreadable(count: int) -> int:
  """How many of `count` examples may be unreadable: 1 %, and at least one."""
  return max(1, count // 100)


def summary(unreadable: Mapping[str, str]) -> str:
  """The first few names of {name: reason} with their reasons, and how many more there are."""
  named = [f"{name} ({reason})" for name, reason in sorted(unreadable.items())[:_NAMED]]
  more = len(unreadable) - len(named)
  return ", ".join(named) + (f" and {more} more" if more else "")


def first_readable(source: Source) -> dict[str, np.ndarray]:
  """The first example that can be read.

  Raises:
    ValueError: none of the first 100 can.
  """
  return Replacing(source)[0]


class Replacing:
  """A source in which the next readable example stands for an unreadable one.

  Attributes:
    source: the one that is read.
    unreadable: {name: reason} of what could not be read so far. Grain reads in
      threads of this process, so the loop sees what they add.
  """

  def __init__(self, source: Source):
    self.source, self.unreadable = source, {}

  def __len__(self) -> int:
    return len(self.source)

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    failed = {}
    for offset in range(min(_ATTEMPTS, len(self))):
      try:
        return self.source[(index + offset) % len(self)]
      except UnreadableError as error:
        failed[error.name] = self.unreadable[error.name] = error.reason
    raise ValueError(f"none of {len(failed)} examples in a row can be read: {summary(failed)}. "
                     "Check the files and the storage they are on.")

  def retry(self, names: Iterable[str]) -> None:
    """Reads the examples of these names once more, to know which are still unreadable."""
    wanted = set(names)
    for index, name in enumerate(getattr(self.source, "names", ()) if wanted else ()):
      if name in wanted:
        try:
          self.source[index]
        except UnreadableError as error:
          self.unreadable[error.name] = error.reason
