"""How fast a run goes, and for how long it waits for its data."""

import contextlib
import time

from jax.sharding import Mesh

from ntm.losses.task import Task
from ntm.performance import chips


class Throughput:
  """A clock of the updates since the last look, all else left out."""

  def __init__(self, task: Task, batch_size: int, num_tokens: int, mesh: Mesh):
    """Starts the clock.

    Args:
      task: says what an update costs.
      batch_size: examples of an update.
      num_tokens: N.
      mesh: devices that share the work.
    """
    self._tokens = batch_size * num_tokens * task.levels
    self._flops = task.flops
    devices = list(mesh.devices.flat)
    chip = chips.lookup(devices[0].device_kind)
    self._peak_flops = chip.peak_flops * chips.count(devices) if chip else None
    self.restart()

  def restart(self) -> None:
    """Forgets everything so far."""
    self._updates, self._waited, self._started = 0, 0.0, time.monotonic()

  def update(self) -> None:
    """Counts one update."""
    self._updates += 1

  @property
  def elapsed(self) -> float:
    """Seconds on the clock."""
    return time.monotonic() - self._started

  @contextlib.contextmanager
  def paused(self):
    """What happens inside is no training."""
    started = time.monotonic()
    yield
    self._started += time.monotonic() - started

  @contextlib.contextmanager
  def waiting_for_data(self):
    """What happens inside is on the clock, and counted apart."""
    started = time.monotonic()
    yield
    self._waited += time.monotonic() - started

  def scalars(self) -> dict[str, float]:
    """Rates of the run, of all devices together, by name; none before an update.

    `data_wait` is the share of the time that the host waited for a batch; the
    devices may have been at work meanwhile. `mfu` is of the dense bfloat16 peak,
    where the chip is known.
    """
    if not self._updates:
      return {}
    elapsed = self.elapsed
    rate = self._updates / elapsed
    values = {"step_seconds": 1 / rate, "steps_per_second": rate,
              "tokens_per_second": self._tokens * rate, "data_wait": self._waited / elapsed}
    if self._flops:
      values["model_flops_per_second"] = self._flops * rate
      if self._peak_flops:
        values["mfu"] = self._flops * rate / self._peak_flops
    return values
