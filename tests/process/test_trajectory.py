import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from ntm.process import kernel, schedule
from ntm.process.trajectory import (
    continue_trajectory,
    draw_pair,
    draw_trajectory,
    sample_trajectory,
)
from ntm.typing import Condition
from tests.helpers import tiny


class TrajectoryTest(absltest.TestCase):

  def test_moments_are_those_of_the_marginals_and_of_the_covariance(self):
    count, times = 200_000, schedule.uniform_times(4, 0.02)
    x0 = jnp.full((count, 1, 1), 0.7)
    x = np.asarray(sample_trajectory(jax.random.key(0), x0, times))[:, :, 0, 0]
    error = 5 / np.sqrt(count)  # Five standard errors of entries of size at most 1.
    np.testing.assert_allclose(x.mean(axis=1), (1 - times) * 0.7, atol=error)
    np.testing.assert_allclose(np.cov(x), kernel.trajectory_covariance(times), atol=2 * error)

  def test_a_continued_one_is_the_whole_given_its_first_state(self):
    count, times = 200_000, schedule.uniform_times(3, 0.2)
    x = np.asarray(continue_trajectory(jax.random.key(0), jnp.full((count, 1, 1), 0.5), times))
    np.testing.assert_array_equal(x[0], 0.5)
    # The Gaussian of all states, conditioned on the first: its mean does not depend on x_0.
    cov = np.asarray(kernel.trajectory_covariance(times), np.float64)
    error = 5 / np.sqrt(count)
    np.testing.assert_allclose(x[1:].mean(axis=(1, 2, 3)), 0.5 * (1 - times[1:]) / 0.8, atol=error)
    np.testing.assert_allclose(np.cov(x[1:, :, 0, 0]),
                               (cov - np.outer(cov[0], cov[0]) / cov[0, 0])[1:, 1:], atol=2 * error)

  def test_every_example_follows_its_own_times(self):
    times = schedule.uniform_times(3, jnp.array([0.0, 0.5]))
    x0 = jax.random.normal(jax.random.key(1), (2, 4, 3))
    x = sample_trajectory(jax.random.key(0), x0, times)
    np.testing.assert_array_equal(x[0, 0], x0[0])  # t_min = 0 is the data.
    one = sample_trajectory(jax.random.key(0), x0, times[:, 1])
    np.testing.assert_array_equal(x[:, 1], one[:, 1])

  def test_padding_repeats_the_noise(self):
    times = schedule.padded_times("uniform", jnp.array([2, 4]), 4, jnp.full(2, 0.02))
    x = sample_trajectory(jax.random.key(0), jnp.ones((2, 4, 3)), times)
    np.testing.assert_array_equal(x[3, 0], x[2, 0])
    np.testing.assert_array_equal(x[4, 0], x[2, 0])
    self.assertFalse(np.array_equal(x[4, 1], x[3, 1]))

  def test_the_noise_level_is_independent_of_the_data(self):
    draw = lambda x0: sample_trajectory(jax.random.key(0), x0, schedule.uniform_times(4, 0.02))[-1]
    jacobian = jax.jacobian(draw)(jnp.ones((1, 2, 1)))
    np.testing.assert_array_equal(jacobian, np.zeros_like(jacobian))


class DrawTest(absltest.TestCase):

  def test_pairs_are_consecutive_levels_of_the_schedule(self):
    config = tiny.config(process__num_steps=(2, 4))
    x0, cond = jax.random.normal(jax.random.key(5), (64, 4, 4)), Condition()
    trajectory, k = jax.device_get(jax.jit(
        lambda rng: draw_pair(rng, x0, cond, config.process))(jax.random.key(0)))
    np.testing.assert_array_equal(trajectory.valid_SB, np.ones((1, 64)))
    for b in range(64):
      t_s, t_t = trajectory.times_KB[:, b]
      steps = int(trajectory.cond.num_steps_B[b])
      if k[b] == 0:
        self.assertBetween(float(t_s), 0, 0.05)
        times = schedule.uniform_times(steps, t_s)
      else:
        times = np.linspace(0, 1, steps + 1)
      np.testing.assert_allclose(t_t, times[k[b] + 1], atol=0.06)
    self.assertLen(np.unique(k), 4)

  def test_multi_t_draws_every_t_and_pads(self):
    config = tiny.config(process__num_steps=(2, 4))
    x0, cond = jax.random.normal(jax.random.key(5), (64, 4, 4)), Condition()
    t = jax.device_get(jax.jit(
        lambda rng: draw_trajectory(rng, x0, cond, config.process))(jax.random.key(0)))
    self.assertSetEqual(set(np.asarray(t.cond.num_steps_B).tolist()), {2, 4})
    np.testing.assert_array_equal(t.valid_SB.sum(axis=0), t.cond.num_steps_B)
    short = np.asarray(t.cond.num_steps_B) == 2
    np.testing.assert_array_equal(t.times_KB[2:, short], 1)
    np.testing.assert_array_equal(t.x_KBNC[3, short], t.x_KBNC[2, short])


if __name__ == "__main__":
  absltest.main()
