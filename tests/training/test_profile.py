"""A profile covers its steps and is written whenever a run ends."""

from unittest import mock

import jax
from absl.testing import absltest, parameterized

from ntm.training import multihost, profile


class ProfileTest(parameterized.TestCase):

  def _events(self, start, steps, last, primary=True):
    """What a run of `last` steps does, in order."""
    events = []
    with (mock.patch.object(jax.profiler, "start_trace",
                            lambda path: events.append(f"start {path}")),
          mock.patch.object(jax.profiler, "stop_trace", lambda: events.append("stop")),
          mock.patch.object(multihost, "is_primary_process", lambda: primary)):
      run = profile.Profile("/run", start, steps)
      for step in range(1, last + 1):
        run.before(step, None)
        events.append(step)
        run.after(step, None)
      run.close()
    return events

  @parameterized.parameters(
      (2, 2, 4, [1, "start /run/profile", 2, 3, "stop", 4]),
      (1, 1, 2, ["start /run/profile", 1, "stop", 2]),
      (3, 5, 4, [1, 2, "start /run/profile", 3, 4, "stop"]),  # The run ends first.
      (0, 3, 2, [1, 2]))
  def test_its_steps_and_no_others(self, start, steps, last, events):
    self.assertEqual(self._events(start, steps, last), events)

  def test_other_processes_write_none(self):
    self.assertEqual(self._events(1, 1, 2, primary=False), [1, 2])


if __name__ == "__main__":
  absltest.main()
