"""A profile of a few steps, for TensorBoard, xprof or Perfetto."""

import logging
import os

import jax
from etils import epath

from ntm.training import multihost

_LOG = logging.getLogger("ntm")


class Profile:
  """Steps `start` to `start + steps - 1` of the first process, written to WORKDIR/profile."""

  def __init__(self, workdir: str | os.PathLike, start: int, steps: int):
    """Plans it; a start of 0 takes none."""
    self._directory = os.fspath(epath.Path(workdir) / "profile")
    self._start, self._last = start, start + steps - 1
    self._active = False
    self._wanted = start > 0 and multihost.is_first()

  def before(self, step: int, state) -> None:
    """To be called before a step; waits for those before the profile."""
    if self._wanted and step == self._start:
      jax.block_until_ready(state)
      jax.profiler.start_trace(self._directory)
      self._active = True

  def after(self, step: int, state) -> None:
    """To be called when a step is dispatched; waits for the last one of the profile."""
    if self._active and step >= self._last:
      jax.block_until_ready(state)
      self.close()

  def close(self) -> None:
    """Writes what there is, if the run ends within the profile."""
    if self._active:
      jax.profiler.stop_trace()
      self._active = False
      _LOG.info("wrote a profile to %s", self._directory)
