import dataclasses

import jax
from absl.testing import absltest

from ntm.nn import partitioning
from ntm.performance import accelerators
from ntm.training import throughput
from tests.helpers import tiny


class ThroughputTest(absltest.TestCase):

  def setUp(self):
    super().setUp()
    self.now = 0.0
    self.enter_context(absltest.mock.patch.object(throughput.time, "monotonic", lambda: self.now))
    self.mesh = partitioning.make_mesh(tiny.config().mesh, jax.devices()[:1])

  def _three_updates(self, clock):
    """In 6 seconds on the clock, half of them waiting."""
    clock.restart()
    for _ in range(3):
      with clock.waiting_for_data():
        self.now += 1
      self.now += 1
      clock.update()
    with clock.paused():
      self.now += 100

  def test_rates_are_of_updates_alone(self):
    clock = throughput.Throughput(96, self.mesh)
    self._three_updates(clock)
    values = {"step_seconds": 2, "steps_per_second": 0.5, "data_wait": 0.5,
              "tokens_per_second": 48}
    self.assertEqual(clock.scalars(), values)
    clock.model_flops = 7e6
    self.assertEqual(clock.scalars(), values | {"model_flops_per_second": 3.5e6})

  def test_utilisation_is_of_the_chips_there_are(self):
    chip = dataclasses.replace(accelerators.lookup("TPU v5e"), peak_flops=10.0)
    with absltest.mock.patch.object(accelerators, "lookup", return_value=chip):
      clock = throughput.Throughput(96, self.mesh)
    clock.model_flops = 40
    self._three_updates(clock)
    self.assertEqual(clock.scalars()["mfu"], 2)


if __name__ == "__main__":
  absltest.main()
