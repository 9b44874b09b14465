import dataclasses

import jax
from absl.testing import absltest

from ntm.losses import task
from ntm.nn import partitioning
from ntm.performance import chips, flops
from ntm.training import throughput
from tests.helpers import tiny


class ThroughputTest(absltest.TestCase):

  def setUp(self):
    super().setUp()
    self.now = 0.0
    self.enter_context(absltest.mock.patch.object(throughput.time, "monotonic", lambda: self.now))
    self.config = tiny.config()
    self.mesh = partitioning.make_mesh(self.config.mesh, jax.devices()[:1])

  def _clock(self):
    return throughput.Throughput(task.density(self.config), self.config.train.batch_size,
                                 self.config.model.num_tokens, self.mesh)

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
    clock = self._clock()
    self._three_updates(clock)
    values = clock.scalars()
    cost = flops.train_step(self.config)
    self.assertEqual(values, {
        "step_seconds": 2, "steps_per_second": 0.5, "data_wait": 0.5,
        "tokens_per_second": 0.5 * 8 * 4 * 3, "model_flops_per_second": 0.5 * cost})

  def test_utilisation_is_of_the_chips_there_are(self):
    chip = dataclasses.replace(chips.lookup("TPU v5e"), peak_flops=10.0)
    with absltest.mock.patch.object(chips, "lookup", return_value=chip):
      clock = self._clock()
    self._three_updates(clock)
    self.assertAlmostEqual(clock.scalars()["mfu"], 0.05 * flops.train_step(self.config))


if __name__ == "__main__":
  absltest.main()
