"""Progress of long computations, in the log."""

import contextlib
import datetime
import logging
import threading
import time
from collections.abc import Callable, Iterator

_LOG = logging.getLogger("ntm")
_SECONDS = 10.0  # Between two lines; a computation that takes less logs nothing.


@contextlib.contextmanager
def progress(what: str, unit: str = "", compiles: bool = False
             ) -> Iterator[Callable[[int, int], None]]:
  """Logs the progress of a computation, and an estimate of the time left, every ten seconds.

  Without reports, inside one long call, it logs the time so far.

  Args:
    what: the name of the computation, such as "sampling".
    unit: of what is done, such as "images", to log how many per second; "" does not.
    compiles: whether the time before the first report is mostly that of compilation, to say so.

  Yields:
    (done, total) → None, which reports progress; total is 0 if it is not known.
  """
  start, ended, state = time.monotonic(), threading.Event(), [0, 0]

  def report(done: int, total: int) -> None:
    state[:] = done, total

  def log_now_and_then() -> None:
    while not ended.wait(_SECONDS):
      (done, total), passed = state, time.monotonic() - start
      if done and done == total:  # What follows the last report is not counted.
        _LOG.info("%s: %d of %d, %s so far", what, done, total, _duration(passed))
      elif done:
        rate = f", {done / passed:.1f} {unit}/s" if unit else ""
        left = f", {_duration(passed * (total / done - 1))} left" if total else ""
        of = f" of {total}" if total else ""
        _LOG.info("%s: %d%s%s%s", what, done, of, rate, left)
      else:
        _LOG.info("%s%s: %s so far", "compiling and " * compiles, what, _duration(passed))

  thread = threading.Thread(target=log_now_and_then, daemon=True)
  thread.start()
  try:
    yield report
  finally:
    ended.set()
    thread.join()


def _duration(seconds: float) -> datetime.timedelta:
  return datetime.timedelta(seconds=round(seconds))
