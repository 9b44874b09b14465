import pathlib
import tempfile

import numpy as np
from absl.testing import absltest

from ntm.training import teacher
from ntm.training import workdir as workdir_lib
from tests.helpers import tiny


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


if __name__ == "__main__":
  absltest.main()
