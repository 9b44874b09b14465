import pathlib
import shutil
import tempfile

import jax
import numpy as np
from absl.testing import absltest

from ntm import api
from ntm.losses import distillation, task
from ntm.losses.inputs import Frozen
from ntm.nn import partitioning
from ntm.training import checkpoint, teacher
from ntm.training import state as state_lib
from ntm.training import workdir as workdir_lib
from tests.helpers import runs, tiny


def _config(**changes):
  return tiny.config(denoiser={"layers": 1, "width": 16, "num_heads": 2, "num_kv_heads": 2},
                     model__transporter__num_blocks=1, **changes)


def _write(config, workdir, run, step=3):
  """A checkpoint of a new state of a task; returns its averaged parameters."""
  mesh = partitioning.make_mesh(config.mesh, jax.devices()[:1])
  state = runs.filled(state_lib.abstract_state(run, config, mesh))
  rng = np.random.default_rng(step)
  ema = jax.tree.map(lambda a: a + 0.1 * rng.normal(size=a.shape).astype(a.dtype),
                     jax.device_get(state.ema))
  workdir_lib.prepare(workdir, config)
  checkpointer = checkpoint.Checkpointer(workdir, config, run.primary_metric)
  checkpointer.save(state.replace(step=state.step + step, ema=ema), {}, {})
  checkpointer.close()
  return ema


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
    run = distillation.distill(self.config, Frozen(teacher_params))
    teacher.write(workdir, self.workdir, 3, teacher_params)
    return _write(self.config, workdir, run)

  def test_a_denoiser_in_the_workdir_of_its_teacher_is_found_and_used(self):
    params = self._distill(self.workdir / "denoiser", self.params)
    model = api.restore(self.workdir)
    images = model.sample(jax.random.key(0), [0, 2], refine="denoiser")
    self.assertEqual(images.shape, (2, 4, 4, 1))
    # The same chain as without refinement, through the denoiser's own network.
    raw = model.sample(jax.random.key(0), [0, 2], refine=None)
    self.assertGreater(np.abs(images - raw).max(), 1e-3)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(params), model.denoiser_params)

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


def _params(shift=0.0):
  return {"layer": {"kernel": np.arange(6.0).reshape(2, 3) + shift, "bias": np.zeros(3)}}


class TeacherTest(absltest.TestCase):

  def setUp(self):
    super().setUp()
    self.workdir = pathlib.Path(tempfile.mkdtemp()) / "denoiser"

  def test_only_the_parameters_that_were_recorded_pass(self):
    teacher.write(self.workdir, "runs/digits", 3, _params())
    teacher.check(self.workdir, _params())
    with self.assertRaisesRegex(ValueError, "distilled from step 3 of runs/digits, whose param"):
      teacher.check(self.workdir, _params(1e-6))

  def test_a_workdir_without_a_record_or_with_a_damaged_one_is_refused(self):
    self.workdir.mkdir()
    with self.assertRaisesRegex(ValueError, "holds no teacher.json: not a workdir of"):
      teacher.check(self.workdir, _params())
    for damaged in ("[1, 2", "[1]", "{}"):
      (self.workdir / workdir_lib.TEACHER_FILE).write_text(damaged)
      with self.assertRaisesRegex(ValueError, "teacher.json is damaged"):
        teacher.check(self.workdir, _params())

  def test_only_an_ntm_can_teach(self):
    teacher.check_kind("runs/digits", tiny.config())
    with self.assertRaisesRegex(ValueError, "'flow_matching'; only an NTM can teach"):
      teacher.check_kind("runs/fm", tiny.config(model__kind="flow_matching"))

  def test_a_distillation_has_the_teachers_model_process_and_data(self):
    ours, theirs = tiny.config(process__num_steps=(4,), train__steps=9), tiny.config()
    joined = teacher.join(ours, theirs)
    self.assertEqual((joined.model, joined.process, joined.data),
                     (theirs.model, theirs.process, theirs.data))
    self.assertEqual(joined.train, ours.train)

  def test_a_distillation_reads_the_texts_of_its_teacher(self):
    theirs = tiny.config(model__num_classes=0, text__tokenizer="scenes",
                         model__backbone={"text_tokens": 16, "vocab_size": 64})
    self.assertEqual(teacher.join(tiny.config(), theirs).text, theirs.text)


if __name__ == "__main__":
  absltest.main()
