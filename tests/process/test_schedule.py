import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm.process import schedule


class ScheduleTest(parameterized.TestCase):

  @parameterized.product(num_steps=(1, 2, 4, 16), batched=(False, True), jit=(False, True),
                         name=("uniform", "shifted"))
  def test_ascends_from_t_min_to_one(self, num_steps, batched, jit, name):
    t_min = jnp.array([0.0, 0.01, 0.05]) if batched else 0.02
    grid = {"uniform": lambda t: schedule.uniform_times(num_steps, t),
            "shifted": lambda t: schedule.shifted_times(num_steps, t, 256)}[name]
    times = (jax.jit(grid) if jit else grid)(t_min)
    self.assertEqual(times.shape, (num_steps + 1,) + jnp.shape(t_min))
    np.testing.assert_array_equal(times[0], jnp.asarray(t_min))
    np.testing.assert_array_equal(times[-1], np.ones(jnp.shape(t_min)))
    self.assertTrue(np.all(np.diff(times, axis=0) > 0))

  def test_uniform_is_evenly_spaced(self):
    np.testing.assert_allclose(schedule.uniform_times(4, 0.02), [0.02, 0.265, 0.51, 0.755, 1],
                               rtol=1e-6)

  def test_shifted_follows_its_formula(self):
    for tokens, shift in ((256, 0.5), (4096, 1.15)):
      k = np.arange(1, 5)
      expected = np.exp(shift) / (np.exp(shift) + 4 / k - 1)
      np.testing.assert_allclose(schedule.shifted_times(4, 0.02, tokens)[1:], expected, rtol=1e-6)

  @parameterized.parameters("uniform", "shifted")
  def test_padded_rows_equal_their_own_grid(self, name):
    num_steps = jnp.array([4, 8, 16])
    times = schedule.padded_times(name, num_steps, 16, jnp.full(3, 0.02), 64)
    for column, steps in enumerate((4, 8, 16)):
      own = schedule.padded_times(name, steps, steps, 0.02, 64)
      np.testing.assert_allclose(times[:steps + 1, column], own, rtol=1e-6)
      np.testing.assert_array_equal(times[steps:, column], 1)

  def test_t_min_draws_stay_in_range(self):
    draws = schedule.draw_t_min(jax.random.key(0), 1000, 0.01, 0.05)
    self.assertGreaterEqual(draws.min(), 0.01)
    self.assertLess(draws.max(), 0.05)
    self.assertAlmostEqual(float(draws.mean()), 0.03, delta=0.002)

  @parameterized.parameters(
      (lambda: schedule.uniform_times(0, 0.02), "num_steps is 0"),
      (lambda: schedule.shifted_times(-1, 0.02, 16), "num_steps is -1"),
      (lambda: schedule.uniform_times(4, -0.1), "leave"),
      (lambda: schedule.uniform_times(4, 1.0), "ascend"),
      (lambda: schedule.shifted_times(100, 0.05, 16), "ascend"),
      (lambda: schedule.shifted_times(4, 0.02, 0), "num_tokens is 0"),
      (lambda: schedule.padded_times("cosine", 4, 4, 0.02), "cosine"),
      (lambda: schedule.check_times([0.1, 0.5, 0.4, 1]), "ascend"),
      (lambda: schedule.check_times([0.1, 0.5, 0.5, 1]), "ascend"),
      (lambda: schedule.check_times([0.1, 0.5, 1.2]), "leave"),
      (lambda: schedule.check_times([0.1, float("nan"), 1]), "leave"),
      (lambda: schedule.check_times([0.1, 0.5]), "last level"),
      (lambda: schedule.check_times([1.0]), "at least two"))
  def test_bad_grids_are_refused(self, make, message):
    with self.assertRaisesRegex(ValueError, message):
      make()


if __name__ == "__main__":
  absltest.main()
