"""A signal that comes at a known step of a run."""

import signal


class StopAfter:
  """Stands in for `multihost.Preemption`: asks to stop with SIGTERM at the given step."""

  def __init__(self, step):
    self._step = step

  def __call__(self, first_step):
    return self

  def __enter__(self):
    return lambda step: signal.SIGTERM if step == self._step else 0

  def __exit__(self, *exc_info):
    pass


class StopWhenTold(StopAfter):
  """The same, from when `told` is set."""

  def __init__(self):
    self.told = False

  def __enter__(self):
    return lambda step: signal.SIGTERM * self.told
