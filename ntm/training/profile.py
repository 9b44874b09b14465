"""A profile of a few steps, for TensorBoard, xprof or Perfetto."""

import logging
import os

import jax
from etils import epath

from ntm.training import multihost

_LOG = logging.getLogger("ntm")


class Profile:
  """Profiles the steps from `start` on, on the primary process, into WORKDIR/profile."""

  def __init__(self, workdir: str | os.PathLike, start: int, steps: int):
    """Schedules the profile; with a start of 0 there is none."""
    self._directory = os.fspath(epath.Path(workdir) / "profile")
    self._start, self._last = start, start + steps - 1
    self._active = False

  def before(self, step: int, state) -> None:
    """Called before a step: waits for the steps before the profile."""
    if step == self._start and multihost.is_primary_process():
      jax.block_until_ready(state)
      jax.profiler.start_trace(self._directory)
      self._active = True

  def after(self, step: int, state) -> None:
    """Called after a step is dispatched: waits for the last step of the profile."""
    if self._active and step >= self._last:
      jax.block_until_ready(state)
      self.close()

  def close(self) -> None:
    """Writes what was recorded, also if the run ends early."""
    if self._active:
      jax.profiler.stop_trace()
      self._active = False
      _LOG.info("wrote a profile to %s", self._directory)
