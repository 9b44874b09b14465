"""How fast a run trains, and how long it waits for its data."""

import contextlib
import time

from jax.sharding import Mesh

from ntm.performance import accelerators


class Throughput:
  """A clock of the updates since it was last read, pauses left out.

  Attributes:
    model_flops: of one update over all devices; 0 while unknown.
  """

  def __init__(self, tokens_per_update: int, mesh: Mesh):
    """Starts the clock.

    Args:
      tokens_per_update: examples times tokens times levels.
      mesh: devices that share the work.
    """
    self.model_flops = 0
    self._tokens = tokens_per_update
    devices = list(mesh.devices.flat)
    chip = accelerators.lookup(devices[0].device_kind)
    self._peak_flops = chip.peak_flops * accelerators.num_chips(devices) if chip else None
    self.restart()

  def restart(self) -> None:
    """Resets the clock."""
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
    """Takes what happens inside off the clock."""
    started = time.monotonic()
    yield
    self._started += time.monotonic() - started

  @contextlib.contextmanager
  def waiting_for_data(self):
    """Keeps what happens inside on the clock, and reports it as waiting."""
    started = time.monotonic()
    yield
    self._waited += time.monotonic() - started

  def scalars(self) -> dict[str, float]:
    """Rates over all devices, by name; none before an update.

    `data_wait` is the fraction of the time in which the host waited for a batch; the
    devices may have been busy meanwhile. `mfu` is relative to the dense bfloat16 peak,
    where the chip is known.
    """
    if not self._updates:
      return {}
    elapsed = self.elapsed
    rate = self._updates / elapsed
    values = {"step_seconds": 1 / rate, "steps_per_second": rate,
              "tokens_per_second": self._tokens * rate, "data_wait": self._waited / elapsed}
    if self.model_flops:
      values["model_flops_per_second"] = self.model_flops * rate
      if self._peak_flops:
        values["mfu"] = self.model_flops * rate / self._peak_flops
    return values
