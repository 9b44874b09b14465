"""What the wall-clock of a run is spent on, over all its starts: WORKDIR/goodput.json.

{"starts": [{"started": unix time, "ended": unix time, "first_step": int, "step": int,
"seconds": {what: seconds}}, ...]}, rewritten by the primary process with every log. What is:

  start        from the call of the loop to its first update: restoring, mostly
  compile      the first update
  updates      the others; `data` is apart, while the host waited for a batch
  evaluation   pictures and held-out metrics
  checkpoints  saving, as far as training waited for it

Over several starts, of which `spent` is the sum, there are also `repeated`, updates after the
checkpoint that the next start resumed from, and `stopped`, the time between a start's last line and
the next start, its imports and checks included. Goodput is the share of the updates that were kept
in all that time.
"""

import collections
import datetime
import json
import logging
import os
import time
from typing import Any

from etils import epath

from ntm.training import multihost
from ntm.training import workdir as workdir_lib

_LOG = logging.getLogger("ntm")


class Goodput:
  """Time since the last lap, by what it was spent on."""

  def __init__(self, workdir: str | os.PathLike, first_step: int, started: float):
    """Goes on with the file of earlier starts, if there is one.

    Args:
      workdir: of the run.
      first_step: the step that this start begins from.
      started: when it began, by `time.time()`.
    """
    self._path = epath.Path(workdir) / "goodput.json"
    # An object in a bucket is written as a whole, so with checkpoints alone.
    self._rarely = workdir_lib.is_bucket(workdir)
    self._starts = _read(self._path) if first_step else []
    self._start = {"started": started, "ended": started, "first_step": first_step,
                   "step": first_step, "seconds": collections.Counter()}

  def lap(self, what: str) -> None:
    """Counts the time since the last lap, or since the start."""
    now = time.time()
    self._start["seconds"][what] += now - self._start["ended"]
    self._start["ended"] = now

  def write(self, step: int, saved: bool = False) -> None:
    """Writes the file; in a bucket only when the step is saved."""
    self._start["step"] = step
    if multihost.is_primary_process() and (saved or not self._rarely):
      partial = self._path.with_name(f"{self._path.name}.partial")
      partial.write_text(json.dumps({"starts": [*self._starts, self._start]}))
      partial.replace(self._path)

  def summary(self) -> str:
    """One line: the share of kept updates, and of all else."""
    starts = [*self._starts, self._start]
    seconds = spent(starts)
    total = sum(seconds.values())
    if not total:
      return "goodput: not yet known"
    kept = seconds.pop("updates", 0)
    shares = ", ".join(f"{what} {n / total:.1%}" for what, n in seconds.most_common() if n)
    count = f"{len(starts)} start" + "s" * (len(starts) > 1)
    return (f"goodput: updates {kept / total:.1%} of "
            f"{datetime.timedelta(seconds=round(total))} in {count}; the rest: {shares}")


def spent(starts: list[dict[str, Any]]) -> collections.Counter:
  """{what: seconds} over several starts, with what was repeated and the time between them."""
  total = collections.Counter()
  for start, after in zip(starts, [*starts[1:], None]):
    seconds = collections.Counter(start["seconds"])
    if after:
      done = start["step"] - start["first_step"]
      lost = min(max(start["step"] - after["first_step"], 0), done)
      # The first update is under `compile`.
      seconds["repeated"] = seconds["updates"] * lost / max(done - 1, lost, 1)
      seconds["updates"] -= seconds["repeated"]
      seconds["stopped"] = max(after["started"] - start["ended"], 0)
    total.update(seconds)
  return total


def _read(path) -> list[dict[str, Any]]:
  """The earlier starts; none of a file that is missing or damaged."""
  if not path.exists():
    return []
  try:
    starts = json.loads(path.read_text())["starts"]
    sum(spent([*starts, *starts]).values())  # Raises where something is missing.
    return starts
  except (ValueError, KeyError, TypeError):
    _LOG.warning("%s cannot be read; the goodput of earlier starts is left out", path)
    return []
