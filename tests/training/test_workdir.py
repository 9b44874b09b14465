import json
import pathlib
import tempfile

from absl.testing import absltest, parameterized

from ntm.training import workdir as workdir_lib
from tests.helpers import buckets, tiny

_config = tiny.config


class WorkdirTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.workdir = tempfile.mkdtemp()

  def _saved(self):
    """As if a run had saved a checkpoint here."""
    (pathlib.Path(self.workdir) / "checkpoints" / "3").mkdir(parents=True)

  def test_any_model_may_start_where_nothing_was_saved(self):
    workdir_lib.prepare(self.workdir, _config())
    workdir_lib.prepare(self.workdir, _config(model__num_classes=4))
    self.assertEqual(workdir_lib.read(self.workdir).model.num_classes, 4)

  def test_another_model_is_refused_by_name(self):
    workdir_lib.prepare(self.workdir, _config())
    self._saved()
    with self.assertRaisesRegex(ValueError, "model.num_classes is 4, was 3"):
      workdir_lib.prepare(self.workdir, _config(model__num_classes=4))
    with self.assertRaisesRegex(ValueError, "process.num_steps"):
      workdir_lib.prepare(self.workdir, _config(process__num_steps=(2, 4)))

  def test_another_denoiser_matters_to_a_denoiser_alone(self):
    workdir_lib.prepare(self.workdir, _config())
    self._saved()
    other = _config(denoiser__layers=2)
    with self.assertLogs("ntm", "WARNING") as logs:
      workdir_lib.prepare(self.workdir, other)
    self.assertIn("denoiser.layers is 2, was", logs.output[0])
    (pathlib.Path(self.workdir) / workdir_lib.TEACHER_FILE).write_text("{}")
    with self.assertRaisesRegex(ValueError, "denoiser.layers is .*, was 2"):
      workdir_lib.prepare(self.workdir, _config())

  def test_another_length_or_remat_is_fine_but_said(self):
    workdir_lib.prepare(self.workdir, _config())
    self._saved()
    with self.assertLogs("ntm", "WARNING") as logs:
      workdir_lib.prepare(self.workdir, _config(train__steps=9, model__remat="full"))
    self.assertLen(logs.output, 2)
    written = json.loads((pathlib.Path(self.workdir) / "config.json").read_text())
    self.assertEqual(written["train"]["steps"], 9)

  def test_another_objective_is_said_as_any_other_change(self):
    workdir_lib.prepare(self.workdir, _config())
    self._saved()
    for objective in ("pair_wise", "calm:objective"):
      with self.assertLogs("ntm", "WARNING") as logs:
        workdir_lib.prepare(self.workdir, _config(train__objective=objective))
      self.assertIn(f"resuming with another config: train.objective is '{objective}', was",
                    logs.output[0])

  def test_files_of_a_workdir_may_be_in_a_bucket(self):
    with buckets.in_memory() as bucket:
      workdir_lib.prepare("gs://bucket/run", _config())
      self.assertEqual(workdir_lib.read("gs://bucket/run"), _config())
      self.assertEqual([path.rsplit("/run/")[1] for path in bucket.store], ["config.json"])

  def test_an_unwritable_workdir_is_named(self):
    with self.assertRaisesRegex(ValueError, "/dev/null/run cannot be written"):
      workdir_lib.prepare("/dev/null/run", _config())

  @parameterized.parameters(False, True)
  def test_where_no_file_can_be_made_nothing_is_writable(self, is_file):
    # Of root, who may write anywhere, only an attempt says so.
    self.assertNotEmpty(workdir_lib.why_not_writable("/proc/missing/run", is_file))
    root = pathlib.Path(tempfile.mkdtemp())
    self.assertEmpty(workdir_lib.why_not_writable(root / "missing" / "run", is_file))
    self.assertEmpty(list(root.iterdir()))


if __name__ == "__main__":
  absltest.main()
