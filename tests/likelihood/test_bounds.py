import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from scipy import stats

from ntm.likelihood.bounds import (
  check_comparable,
  dequantise,
  importance_bound,
  likelihood,
  log_weight,
)
from ntm.process import schedule
from ntm.process.kernel import trajectory_covariance
from ntm.process.trajectory import continue_trajectory, sample_trajectory
from ntm.typing import Condition, Trajectory
from tests.helpers import tiny


@functools.cache
def _scored():
  """(trajectory, figures, likelihood) of a model of 6 tokens of 4 channels."""
  config = tiny.config(model__image_shape=(4, 6, 1))
  model, params = tiny.model_and_params(config)
  trajectory = tiny.trajectory(config)
  run = jax.jit(lambda params, trajectory: (
      likelihood(model, params, trajectory),
      model.apply({"params": params}, trajectory, method="log_prob")))
  return trajectory, *run(params, trajectory)


class LikelihoodTest(parameterized.TestCase):

  def test_figures_follow_from_the_steps(self):
    _, out, result = _scored()
    np.testing.assert_allclose(out.log_prob_B, result.step_SB.sum(0) + result.prior_B, rtol=1e-6)
    np.testing.assert_allclose(out.nats_per_dim_B, -result.step_SB.mean(0) / 24, rtol=1e-6)
    np.testing.assert_allclose(out.bits_per_dim_B, -out.bound_B / 24 / math.log(2), rtol=1e-6)

  def test_the_bound_leaves_out_the_forward_chain_given_its_first_state(self):
    trajectory, out, _ = _scored()
    x = np.asarray(trajectory.x_KBNC, np.float64).reshape(4, 2, 24)
    with jax.enable_x64(True):
      cov = trajectory_covariance(np.asarray(trajectory.times_KB[:, 0], np.float64))
    for b in range(2):
      joint = stats.multivariate_normal(cov=cov).logpdf(x[:, b].T).sum()
      first = stats.norm(scale=np.sqrt(cov[0, 0])).logpdf(x[0, b]).sum()
      np.testing.assert_allclose(out.log_prob_B[b] - out.bound_B[b], joint - first, rtol=1e-4)

  def test_the_bound_holds_and_equals_an_importance_weight(self):
    # T = 1 and a predictor that does not read the noise: p(x_0, x_1) = p(x_0) N(x_1; 0, I), and
    # the forward kernel to t = 1 is N(0, I) as well, so the bound is log p(x_0) itself.
    config = tiny.config(process__num_steps=(1,))
    model, params = tiny.model_and_params(config)
    times = schedule.uniform_times(1, jnp.full(2, 0.1))
    x0 = jnp.zeros((2, 4, 4))
    bounds, run = [], jax.jit(lambda *args: likelihood(model, *args))
    for seed in (0, 1):
      noisy = sample_trajectory(jax.random.key(seed), x0, times)
      x = jnp.stack([jnp.full((2, 4, 4), 0.2), noisy[1]])  # Same cleanest state, other noise.
      cond = Condition(label_B=jnp.array([0, 1]))
      out = run(params, Trajectory(x, times, cond, jnp.ones((1, 2))))
      np.testing.assert_allclose(out.bound_B, out.step_SB[0], rtol=1e-5)
      bounds.append(out.bound_B)
    np.testing.assert_allclose(*bounds, rtol=1e-5)

  def test_with_one_step_a_weight_does_not_depend_on_the_chain(self):
    config = tiny.config(process__num_steps=(1,))
    model, params = tiny.model_and_params(config)
    times = jnp.broadcast_to(schedule.uniform_times(1, 0.1)[:, None], (2, 2))
    x = jax.random.normal(jax.random.key(0), (2, 4, 4))
    run = jax.jit(lambda rng, params: log_weight(
        rng, model, params, x, times, Condition(label_B=jnp.array([0, 1]))))
    weights = [run(jax.random.key(seed), params) for seed in (1, 2)]
    np.testing.assert_allclose(*weights, rtol=1e-5)

  def test_more_draws_tighten_the_bound_and_one_is_the_mean(self):
    weights = jax.random.normal(jax.random.key(0), (64, 5)) * 3
    bounds = jax.jit(lambda weights: [
        importance_bound(weights, count) for count in (1, 4, 16, 64)])(weights)
    np.testing.assert_allclose(bounds[0], weights.mean(axis=0), rtol=1e-5)
    for looser, tighter in zip(map(np.asarray, bounds), map(np.asarray, bounds[1:])):
      # Jensen's inequality holds for these very draws, group by group.
      self.assertTrue((tighter >= looser - 1e-5).all())
    np.testing.assert_allclose(
        bounds[-1], jax.nn.logsumexp(weights, axis=0) - math.log(64), rtol=1e-5)

  @parameterized.parameters(0.125, 0.01)
  def test_dequantisation_stays_in_its_cell_and_its_density_integrates_to_one(self, spacing):
    x0 = jnp.linspace(-1, 1, 17)[None, :, None].repeat(4000, axis=2)
    t_min = 0.02
    x, extra = jax.jit(lambda rng: dequantise(rng, x0, t_min, spacing))(jax.random.key(0))
    v = np.asarray(x) / (1 - t_min) - np.asarray(x0)
    self.assertLessEqual(np.abs(v).max(), spacing / 2 + 1e-6)
    # E_q[1 / q] is the width of the cell.
    scale = t_min / (1 - t_min)
    mass = math.erf(spacing / 2 / scale / math.sqrt(2))
    log_q = -0.5 * (v / scale) ** 2 - math.log(scale * math.sqrt(2 * math.pi) * mass)
    np.testing.assert_allclose(np.exp(-log_q).mean(), spacing, rtol=0.02)
    np.testing.assert_allclose(extra[0], x0.size * math.log(1 - t_min) - log_q.sum(), rtol=1e-3)

  def test_a_continued_trajectory_starts_where_it_is_told(self):
    times = schedule.uniform_times(3, 0.1)
    x = jax.random.normal(jax.random.key(0), (2, 4, 4))
    states = jax.jit(continue_trajectory)(jax.random.key(1), x, times)
    np.testing.assert_array_equal(states[0], x)
    self.assertEqual(states.shape, (4, 2, 4, 4))

  @parameterized.parameters(
      (dict(model__image_shape=(4, 8, 1)), "differ in image_shape"),
      (dict(data__test_fraction=0.3), "differ in data"),
      (dict(process__t_min=0.01), "differ in t_min"))
  def test_models_of_other_data_are_not_compared(self, changes, message):
    check_comparable(tiny.config(), tiny.config(model__predictor={"layers": 2}))
    with self.assertRaisesRegex(ValueError, message):
      check_comparable(tiny.config(), tiny.config(**changes))


if __name__ == "__main__":
  absltest.main()
