"""The workdir's record of the data: the examples of each split, and the unreadable ones.

  data.json.gz    {split: lines, one per example or array}, written at the first
                  start. A changed folder would be split and shuffled differently,
                  so a run does not resume on it.
  unreadable.txt  one line per replaced example: its name, a tab, the reason. At
                  every start these examples are read again.
"""

import collections
import gzip
import hashlib
import json
import logging
import os

from etils import epath

from ntm.data.pipeline import TrainIterator
from ntm.training import multihost
from ntm.training import workdir as workdir_lib

FILE = "data.json.gz"
UNREADABLE = "unreadable.txt"
_LOG = logging.getLogger("ntm")
_MAX_NAMES = 5  # Of lines or files in a message.

Record = dict[str, list[str]]


def check(workdir: str | os.PathLike | None, record: Record) -> None:
  """Raises ValueError unless all processes see the data with which the run started; collective.

  Args:
    workdir: of the run; may be new. None compares only the processes.
    record: {split: lines that identify its examples, in order}.
  """
  digests = multihost.allgather_strings(hashlib.sha256(_encode(record)).hexdigest())
  for number, digest in enumerate(digests):
    if digest != digests[0]:
      raise ValueError(f"process {number} sees other data than process 0 at the same "
                       "config.data.path; all must see the same files.")
  started = workdir is not None and workdir_lib.started(workdir)
  if started and (what := changes(workdir, record)):
    raise ValueError(
        f"the data are not those that {workdir} started with: {what}. The order of training and "
        "the test examples would change. Restore the data, or start in a new workdir; to continue "
        f"with the data as they are, remove {epath.Path(workdir) / FILE}.")


def changes(workdir: str | os.PathLike, record: Record) -> str:
  """Describes how data differ from the record of a workdir; empty if equal or without a record."""
  path = epath.Path(workdir) / FILE
  if not path.exists():
    return ""
  try:
    old = json.loads(gzip.decompress(path.read_bytes()))
    before = {line: split for split, lines in old.items() for line in lines}
  except (OSError, EOFError, ValueError, AttributeError) as error:
    raise ValueError(f"{path} cannot be read ({error}); remove it to continue with the data as "
                     "they are.") from error
  now = {line: split for split, lines in record.items() for line in lines}
  kinds = {
      "appeared": [line for line in now if line not in before],
      "vanished": [line for line in before if line not in now],
      "changed the split": [line for line in now if before.get(line, now[line]) != now[line]],
      "changed the order": [] if before.keys() != now.keys() or old == record else list(now)}
  return "; ".join(f"{len(lines)} {kind} ({_some(lines)})"
                   for kind, lines in kinds.items() if lines)


def warn_if_changed(workdir: str | os.PathLike, record: Record) -> None:
  """Warns if a run was trained on other data, which may include the test examples."""
  if what := changes(workdir, record):
    _LOG.warning("the data are not those that %s was trained on (%s): test examples may be among "
                 "those it has seen.", workdir, what)


def write(workdir: str | os.PathLike, record: Record, first_step: int) -> None:
  """Writes a record that is not empty, if the run starts at `first_step` 0 or has none yet."""
  path = epath.Path(workdir) / FILE
  if record and multihost.is_primary_process() and not (first_step and path.exists()):
    partial = path.with_name(f"{FILE}.partial")
    partial.write_bytes(gzip.compress(_encode(record), mtime=0))
    partial.replace(path)


class Unreadable:
  """Counts the unreadable examples of all processes, and lists them in the workdir."""

  def __init__(self, workdir: str | os.PathLike, iterator: TrainIterator):
    """Reads the examples again that the workdir lists; collective.

    Args:
      workdir: of the run.
      iterator: of the run; one without `unreadable` has no unreadable examples.

    Raises:
      ValueError: too many examples are unreadable already.
    """
    self._path, self._iterator = epath.Path(workdir) / UNREADABLE, iterator
    self._found: dict[str, str] = {}
    self._listed: set[str] = set()  # In the file.
    self._limit = getattr(iterator, "max_unreadable", 0)
    if self._limit and self._path.exists():
      lines = self._path.read_bytes().decode(errors="surrogateescape").splitlines()
      self._listed = {line.split("\t")[0] for line in lines}
      iterator.retry(self._listed)
    self.update()
    if problem := self.too_many():
      raise ValueError(problem)

  def update(self) -> int:
    """Logs and lists what is new on any process, and returns the count; collective."""
    found = collections.ChainMap(*map(json.loads, multihost.allgather_strings(
        json.dumps(getattr(self._iterator, "unreadable", {})))))
    new = sorted(found.keys() - self._found.keys())
    for name in new:
      _LOG.warning("%s cannot be read (%s); the next one that can takes its place.", name,
                   found[name])
    self._found |= {name: found[name] for name in new}
    if self._found.keys() != self._listed and multihost.is_primary_process():
      lines = [f"{name}\t{reason}\n" for name, reason in sorted(self._found.items())]
      self._path.write_bytes("".join(lines).encode(errors="surrogateescape"))
      self._listed = set(self._found)
    return len(self._found)

  def too_many(self) -> str:
    """The text of an error if there are more unreadable examples than allowed, or empty."""
    if len(self._found) <= self._limit:
      return ""
    return (f"{len(self._found)} files cannot be read, and at most {self._limit} may be replaced "
            f"by others: {_some(sorted(self._found))}; all are in {self._path}. Put readable ones "
            "in their places, under the same names.")


def _encode(record):
  return json.dumps(record, indent=0).encode()


def _some(lines):
  more = len(lines) - _MAX_NAMES
  return ", ".join(lines[:_MAX_NAMES]) + (f" and {more} more" if more > 0 else "")
