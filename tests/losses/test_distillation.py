import pathlib
import shutil
import tempfile

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from ntm import api
from ntm.losses import distillation, task
from ntm.models import denoiser
from ntm.nn import partitioning
from ntm.process.trajectory import draw_trajectory
from ntm.sampling import refinement
from ntm.training import checkpoint, teacher
from ntm.training import state as state_lib
from ntm.training import step as step_lib
from ntm.training import workdir as workdir_lib
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


def _write(config, workdir, run, step=3):
  """A checkpoint of a new state of a task; returns its averaged parameters."""
  mesh = partitioning.make_mesh(config.mesh, jax.devices()[:1])
  state = state_lib.init_state(run, config, mesh)
  rng = np.random.default_rng(step)
  ema = jax.tree.map(lambda a: a + 0.1 * rng.normal(size=a.shape).astype(a.dtype),
                     jax.device_get(state.ema))
  workdir_lib.prepare(workdir, config)
  checkpointer = checkpoint.Checkpointer(workdir, config, run.primary_metric)
  checkpointer.save(state.replace(step=state.step + step, ema=ema), {}, {})
  checkpointer.close()
  return ema


class DistillationTest(absltest.TestCase):

  def setUp(self):
    super().setUp()
    self.config = _config(train__steps=60, optimizer__peak=1e-2)
    self.teacher, self.params = tiny.model_and_params(self.config, scale=0.1)
    self.task = distillation.distill(self.config, self.params)

  def test_the_loss_is_the_distance_to_the_score_refinement(self):
    rng, batch = jax.random.key(0), _batch(4)
    student = denoiser.build(self.config)

    @jax.jit
    def expected(params, frozen):
      x0, label = task.to_tokens(batch, self.config)
      trajectory = draw_trajectory(rng, x0, label, self.config.process)
      target = refinement.refine(self.teacher, frozen, trajectory)
      u, _ = self.teacher.apply({"params": frozen}, trajectory.x_KBNC, trajectory.times_KB,
                                label, method="transport")
      x = student.apply({"params": params}, u[0], Condition(trajectory.times_KB[0], None, label))
      return ((x - target) ** 2).mean(), ((trajectory.x_KBNC[0] - target) ** 2).mean()

    params = _params(self.task)
    loss, metrics = jax.jit(self.task.loss)(rng, params, self.params, batch, 0)
    mse, mse_of_raw = expected(params, self.params)
    np.testing.assert_allclose(loss, mse, rtol=1e-4)
    np.testing.assert_allclose(metrics.scalars()["mse_of_raw"], mse_of_raw, rtol=1e-4)

  def test_the_teacher_gets_no_gradient(self):
    params = _params(self.task)
    grads = jax.jit(jax.grad(lambda frozen: self.task.loss(
        jax.random.key(0), params, frozen, _batch(2), 0)[0]))(self.params)
    # Only through u, which the denoiser reads; the predictor is in the targets alone.
    for leaf in jax.tree.leaves(grads["predictor"]):
      np.testing.assert_array_equal(leaf, 0)

  def test_the_student_learns_and_the_teacher_stays(self):
    mesh = partitioning.make_mesh(self.config.mesh, jax.devices()[:1])
    state = state_lib.init_state(self.task, self.config, mesh)
    step = step_lib.make_train_step(self.task, self.config, mesh)
    before, losses = jax.device_get(self.params), []
    for i in range(60):
      state, metrics, _ = step(state, partitioning.put_batch(mesh, _batch(8, i % 4)), self.params)
      losses.append(metrics.scalars()["mse"])
    self.assertLess(np.mean(losses[-5:]), 0.7 * np.mean(losses[:5]))
    jax.tree.map(np.testing.assert_array_equal, before, jax.device_get(self.params))
    self.assertEqual(step._cache_size(), 1)

  def test_every_t_of_a_multi_t_teacher(self):
    config = _config(process__num_steps=(2, 4))
    _, teacher = tiny.model_and_params(config)
    run = distillation.distill(config, teacher)
    loss, _ = jax.jit(run.loss)(
        jax.random.key(0), _params(run), teacher, _batch(), 0)
    self.assertTrue(np.isfinite(loss))


class RestoreTest(absltest.TestCase):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.config = _config()
    cls.teacher = tempfile.mkdtemp()
    cls.params = _write(cls.config, cls.teacher, task.density(cls.config))

  def setUp(self):
    super().setUp()
    self.workdir = pathlib.Path(tempfile.mkdtemp()) / "teacher"
    shutil.copytree(self.teacher, self.workdir)

  def _distill(self, workdir, teacher_params):
    run = distillation.distill(self.config, teacher_params)
    teacher.write(workdir, self.workdir, 3, teacher_params)
    return _write(self.config, workdir, run)

  def test_a_denoiser_beside_its_teacher_is_found_and_used(self):
    params = self._distill(self.workdir / "denoiser", self.params)
    model = api.restore(self.workdir)
    images = model.sample(jax.random.key(0), [0, 2], refine="denoiser")
    self.assertEqual(images.shape, (2, 4, 4, 1))
    # The same chain as without refinement, through the denoiser's own network.
    raw = model.sample(jax.random.key(0), [0, 2], refine=None)
    self.assertGreater(np.abs(images - raw).max(), 1e-3)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(params), model._denoiser_params)

  def test_another_teachers_denoiser_is_refused(self):
    other = jax.tree.map(lambda a: a + 1e-3, self.params)
    self._distill(self.workdir / "elsewhere", other)
    with self.assertRaisesRegex(ValueError, "whose parameters are not those of this model"):
      api.restore(self.workdir, denoiser=self.workdir / "elsewhere")

  def test_without_a_denoiser_the_error_says_how_to_get_one(self):
    with self.assertRaisesRegex(ValueError, "run `ntm distill`"):
      api.restore(self.workdir).sample(jax.random.key(0), [0], refine="denoiser")

  def test_a_foreign_directory_is_named(self):
    with self.assertRaisesRegex(FileNotFoundError, "holds no config.json"):
      api.restore(self.workdir, denoiser=tempfile.mkdtemp())


class InitTest(absltest.TestCase):

  def test_starts_at_zero(self):
    run = distillation.distill(_config(), None)
    student = denoiser.build(_config())
    out = jax.jit(lambda rng: student.apply(
        {"params": nn.unbox(run.init(rng))}, jnp.ones((2, 4, 4)),
        Condition(jnp.full(2, 0.02), None, jnp.array([0, 3]))))(jax.random.key(0))
    np.testing.assert_array_equal(out, 0)


if __name__ == "__main__":
  absltest.main()
