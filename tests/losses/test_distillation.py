
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest

from ntm.losses import distillation, task
from ntm.losses.inputs import Frozen
from ntm.models import build
from ntm.nn import partitioning
from ntm.process.trajectory import draw_trajectory
from ntm.sampling import refinement
from ntm.training import state as state_lib
from ntm.training import step as step_lib
from ntm.typing import Condition
from tests.helpers import tiny


def _config(**changes):
  return tiny.config(denoiser={"layers": 1, "width": 16, "num_heads": 2, "num_kv_heads": 2},
                     **changes)


def _batch(size=8, seed=0):
  rng = np.random.default_rng(seed)
  return {"image": rng.uniform(-1, 1, (size, 4, 4, 1)).astype(np.float32),
          "label": rng.integers(0, 3, size).astype(np.int32)}


def _params(run):
  return tiny.random_params(lambda rng: {"params": run.init(rng)})


class DistillationTest(absltest.TestCase):

  def setUp(self):
    super().setUp()
    self.config = _config(train__steps=60, optimizer__peak_learning_rate=1e-2)
    self.teacher, self.params = tiny.model_and_params(self.config, scale=0.1)
    self.task = distillation.distill(self.config, Frozen(self.params))

  def test_the_loss_is_the_distance_to_the_score_refinement(self):
    rng, batch = jax.random.key(0), _batch(4)
    student = build.denoiser(self.config)

    @jax.jit
    def expected(params, frozen):
      x0, cond = task.to_tokens(batch, self.config)
      trajectory = draw_trajectory(rng, x0, cond, self.config.process)
      target = refinement.refine(self.teacher, frozen, trajectory)
      u, _ = self.teacher.apply({"params": frozen}, trajectory.x_KBNC,
                                cond.at(trajectory.times_KB), method="transport")
      x = student.apply({"params": params}, u[0], cond.at(trajectory.times_KB[0]))
      return ((x - target) ** 2).mean(), ((trajectory.x_KBNC[0] - target) ** 2).mean()

    params = _params(self.task)
    loss, metrics = jax.jit(self.task.loss)(rng, params, self.task.frozen, batch, 0)
    mse, mse_of_raw = expected(params, self.params)
    np.testing.assert_allclose(loss, mse, rtol=1e-4)
    np.testing.assert_allclose(metrics.scalars()["mse_of_raw"], mse_of_raw, rtol=1e-4)

  def test_the_teacher_gets_no_gradient(self):
    params = _params(self.task)
    grads = jax.jit(jax.grad(lambda frozen: self.task.loss(
        jax.random.key(0), params, frozen, _batch(2), 0)[0]))(self.task.frozen)
    # Only through u, which the denoiser reads; the predictor is in the targets alone.
    for leaf in jax.tree.leaves(grads.teacher["predictor"]):
      np.testing.assert_array_equal(leaf, 0)

  @pytest.mark.slow
  def test_the_student_learns_and_the_teacher_stays(self):
    mesh = partitioning.make_mesh(self.config.mesh, jax.devices()[:1])
    state = state_lib.init_state(self.task, self.config, mesh)
    step = step_lib.make_train_step(self.task, self.config, mesh)
    before, losses = jax.device_get(self.params), []
    for i in range(60):
      state, metrics, _ = step(state, partitioning.put_batch(mesh, _batch(8, i % 4)),
                               self.task.frozen)
      losses.append(metrics.scalars()["mse"])
    self.assertLess(np.mean(losses[-5:]), 0.7 * np.mean(losses[:5]))
    jax.tree.map(np.testing.assert_array_equal, before, jax.device_get(self.params))
    self.assertEqual(step._cache_size(), 1)

  def test_a_conditional_teacher_gives_its_features_too(self):
    self._assert_features_are_given("markov")

  @pytest.mark.slow
  def test_a_conditional_teacher_that_reads_the_history_gives_its_features_too(self):
    self._assert_features_are_given("history")

  def _assert_features_are_given(self, context):
    config = _config(model__transporter__features=3, model__predictor__context=context)
    teacher, frozen = tiny.model_and_params(config, scale=0.1)
    run, student, batch = (distillation.distill(config, Frozen(frozen)), build.denoiser(config),
                           _batch(4))
    params = _params(run)
    self.assertEqual(params["network"]["embed"]["kernel"].shape, (4 + 3, 16))

    @jax.jit
    def expected(params, frozen):
      trajectory = draw_trajectory(jax.random.key(0), *task.to_tokens(batch, config),
                                   config.process)
      target = refinement.refine(teacher, frozen, trajectory)
      result = teacher.apply({"params": frozen}, trajectory, method="log_prob")
      u = result.mean_SBNC[0] + jnp.exp(result.log_scale_SBNC[0]) * result.z_SBNC[0]
      times, cond = trajectory.times_KB, trajectory.cond
      features = teacher.apply({"params": frozen}, trajectory.x_KBNC[1:],
                               cond.at(times[1:], times[:-1]), method="predict")[2]
      x = student.apply({"params": params}, u,
                        cond.at(times[0]).replace(features_BNF=features[0]))
      return ((x - target) ** 2).mean()

    loss, _ = jax.jit(run.loss)(jax.random.key(0), params, run.frozen, batch, 0)
    np.testing.assert_allclose(loss, expected(params, frozen), rtol=1e-4)

  def test_samples_of_a_conditional_teacher_are_denoised(self):
    config = _config(model__transporter__features=3)
    _, frozen = tiny.model_and_params(config, scale=0.1)
    run = distillation.distill(config, Frozen(frozen))
    images = jax.jit(run.samples)(_params(run), run.frozen)["denoised"]
    self.assertTrue(np.isfinite(images).all())

  def test_every_t_of_a_multi_t_teacher(self):
    config = _config(process__num_steps=(2, 4))
    _, teacher = tiny.model_and_params(config)
    run = distillation.distill(config, Frozen(teacher))
    loss, _ = jax.jit(run.loss)(
        jax.random.key(0), _params(run), run.frozen, _batch(), 0)
    self.assertTrue(np.isfinite(loss))


class InitTest(absltest.TestCase):

  def test_starts_at_zero(self):
    run = distillation.distill(_config(), None)
    student = build.denoiser(_config())
    out = jax.jit(lambda rng: student.apply(
        {"params": nn.unbox(run.init(rng))}, jnp.ones((2, 4, 4)),
        Condition(jnp.full(2, 0.02), label_B=jnp.array([0, 3]))))(jax.random.key(0))
    np.testing.assert_array_equal(out, 0)


if __name__ == "__main__":
  absltest.main()
