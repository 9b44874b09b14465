import dataclasses
import functools
import types

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm.models import build
from ntm.process import schedule
from ntm.process.kernel import forward_kernel, trajectory_covariance
from ntm.process.trajectory import sample_trajectory
from ntm.sampling import sampler
from ntm.sampling.refinement import refine, sample_refined
from ntm.typing import Condition, Trajectory
from tests.helpers import tiny


@dataclasses.dataclass
class _ExactModel:
  """log p of trajectories of data x_0 ~ N(mean, scale^2), in closed form."""

  mean: float = 0.3
  scale: float = 0.5

  def apply(self, variables, trajectory, method):
    assert method == "log_prob"
    times = trajectory.times_KB[:, 0]
    signal = 1 - times
    cov = trajectory_covariance(times) + self.scale**2 * jnp.outer(signal, signal)
    residual = trajectory.x_KBNC - (signal * self.mean)[:, None, None, None]
    solved = jnp.einsum("jk,kbnc->jbnc", jnp.linalg.inv(cov), residual)
    return types.SimpleNamespace(total_B=-0.5 * (residual * solved).sum(axis=(0, 2, 3)))

  def posterior_mean(self, x_KBNC, times):
    """E[x_0 | whole trajectory]: only the cleanest state matters in this chain."""
    t = times[0]
    gain = (1 - t) * self.scale**2 / ((1 - t) ** 2 * self.scale**2 + t**2)
    return self.mean + gain * (x_KBNC[0] - (1 - t) * self.mean)


@jax.jit
def _trajectory(times, batch_size=3):
  x0 = 0.3 + 0.5 * jax.random.normal(jax.random.key(0), (batch_size, 4, 2))
  x = sample_trajectory(jax.random.key(1), x0, times)
  times_KB = jnp.broadcast_to(times[:, None], (times.shape[0], batch_size))
  return Trajectory(x, times_KB, Condition(), jnp.ones_like(times_KB[1:]))


@functools.partial(jax.jit, static_argnums=1)
def _refine(trajectory, *clip_percentile):
  return refine(_ExactModel(), {}, trajectory, *clip_percentile)


class RefinementTest(parameterized.TestCase):

  def test_an_exact_model_gives_the_posterior_mean(self):
    with jax.enable_x64(True):
      for t_min in (0.02, 0.4):
        times = schedule.uniform_times(4, t_min)
        trajectory = _trajectory(times)
        np.testing.assert_allclose(
            _refine(trajectory),
            _ExactModel().posterior_mean(trajectory.x_KBNC, times), atol=1e-8)

  @parameterized.parameters(0, 3)
  def test_the_correction_is_the_gradient_of_the_likelihood_over_all_states(self, features):
    # <v, S g> of a direction v is the slope of -log p when every state k moves by S_0k v.
    with jax.enable_x64(True):
      config = tiny.config(model__transporter__features=features, process__num_steps=(2,))
      model, params = tiny.model_and_params(config, jnp.float64)
      t = tiny.trajectory(config, dtype=jnp.float64)
      v_BNC = jax.random.normal(jax.random.key(1), t.x_KBNC.shape[1:], jnp.float64)
      moved_KBNC = trajectory_covariance(t.times_KB)[0][..., None, None] * v_BNC

      @jax.jit
      def run(params, step):
        log_prob = lambda step: model.apply(
            {"params": params}, t.replace(x_KBNC=t.x_KBNC + step * moved_KBNC),
            method="log_prob").total_B
        correction_BNC = t.x_KBNC[0] - (1 - t.times_KB[0])[:, None, None] * refine(model, params, t)
        return ((v_BNC * correction_BNC).sum(axis=(1, 2)),
                (log_prob(-step) - log_prob(step)) / (2 * step))

      np.testing.assert_allclose(*run(params, 1e-5), rtol=1e-6)

  @parameterized.parameters(
      ({}, None, 100.0), ({}, 2.0, 100.0), ({}, None, 50.0),
      ({"process__num_steps": (1,)}, 2.0, 50.0),
      ({"model__predictor__context": "history"}, 2.0, 100.0),
      ({"model__transporter__features": 3}, None, 50.0))
  def test_sampling_and_refining_at_once_is_sampling_then_refining(self, changes, guidance, clip):
    with jax.enable_x64(True):
      config = tiny.config(**{"process__num_steps": (3,)} | changes)
      model, params = tiny.model_and_params(config, jnp.float64)
      steps, = config.process.num_steps
      times = schedule.uniform_times(steps, 0.1).astype(jnp.float64)
      cond, null_cond = (Condition(label_B=jnp.full(2, label)) for label in (0, 2))
      sampled = (jax.random.key(0), model)
      given = (times, (2, *build.patches(config.model).token_shape), cond, guidance, null_cond)

      @jax.jit
      def at_once(params):
        return sample_refined(*sampled, params, *given, clip)

      @jax.jit
      def in_turn(params):
        x_KBNC, _ = sampler.sample_trajectory(*sampled, params, *given, num_states=steps + 1)
        times_KB = jnp.broadcast_to(times[:, None], (steps + 1, 2))
        trajectory = Trajectory(x_KBNC, times_KB, cond, jnp.ones((steps, 2)))
        return refine(model, params, trajectory, clip), x_KBNC

      chex.assert_trees_all_close(at_once(params)[:2], in_turn(params), atol=1e-9)

  def test_clipping_bounds_the_correction(self):
    times = schedule.uniform_times(4, 0.2)
    trajectory = _trajectory(times)
    raw = np.asarray(trajectory.x_KBNC[0]) / 0.8
    full = np.abs(_refine(trajectory) - raw).max()
    clipped = np.abs(_refine(trajectory, 50.0) - raw).max()
    self.assertLess(clipped, full)
    np.testing.assert_array_equal(_refine(trajectory, 100.0), _refine(trajectory))

  def test_the_noise_level_has_zero_weight(self):
    times = schedule.uniform_times(4, 0.02)
    self.assertEqual(float(trajectory_covariance(times)[0, -1]), 0)
    self.assertEqual(float(forward_kernel(times[-2], times[-1])[0]), 0)


if __name__ == "__main__":
  absltest.main()
