"""How far a long copy has come, in the log."""

import logging
import time
from collections.abc import Iterable, Iterator

import numpy as np

_LOG = logging.getLogger("ntm")
_SECONDS = 5.0  # Between two lines.


class Progress:
  """Counts pieces and bytes, and logs them now and then."""

  def __init__(self, pieces: int, total_bytes: int):
    """Starts the clock; `pieces` and `total_bytes` are those of the whole copy."""
    self.total_bytes = total_bytes
    self._pieces, self._done, self._bytes = pieces, 0, 0
    self._start = self._logged = time.monotonic()

  def add(self, size: int) -> None:
    """One more piece of so many bytes is done."""
    self._done += 1
    self._bytes += size
    now = time.monotonic()
    if now - self._logged < _SECONDS and self._done < self._pieces:
      return
    self._logged = now
    left = (now - self._start) * (self.total_bytes / max(self._bytes, 1) - 1)
    _LOG.info("%d of %d pieces, %.2f of %.2f GB, %.0f s left", self._done, self._pieces,
              self._bytes / 1e9, self.total_bytes / 1e9, left)

  def over(self, named: Iterable[tuple[str, np.ndarray]]) -> Iterator[tuple[str, np.ndarray]]:
    """The same (name, array) pairs, counted."""
    for name, array in named:
      yield name, array
      self.add(array.nbytes)
