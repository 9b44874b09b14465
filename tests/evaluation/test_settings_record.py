"""A folder of samples is continued with the settings that began it, or not at all."""

import json
import pathlib
import tempfile

from absl.testing import absltest, parameterized

from ntm.evaluation import settings_record


class SettingsRecordTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.directory = pathlib.Path(tempfile.mkdtemp()) / "new" / "samples"
    self.path = self.directory / "settings.json"

  def _check(self, **settings):
    settings_record.check(self.path, self.directory, settings, "samples_dir")
    settings_record.start(self.path, self.directory, settings)

  def test_samples_of_other_settings_are_refused_by_name(self):
    self._check(seed=0, guidance=1.5)
    self._check(seed=1, guidance=1.5)  # Nothing is there yet.
    (self.directory / "part").touch()
    self._check(guidance=1.5, seed=1)
    before = self.path.read_text()
    with self.assertRaisesRegex(ValueError, "has samples of labels None, not 'uniform' and seed 1, "
                                "not 2; repeat .* another --samples_dir"):
      self._check(seed=2, guidance=1.5, labels="uniform")
    self.assertEqual(self.path.read_text(), before)

  def test_hashes_are_named_where_nothing_else_differs(self):
    self._check(count=5, labels_sha256="ab")
    (self.directory / "part").touch()
    with self.assertRaisesRegex(ValueError, "samples of count 5, not 6; repeat"):
      self._check(count=6, labels_sha256="cd")
    with self.assertRaisesRegex(ValueError, "has samples of other labels; repeat"):
      self._check(count=5, labels_sha256="cd")

  def test_of_another_workdir_nothing_else_is_named(self):
    self._check(workdir="/a", refine="score")
    (self.directory / "part").touch()
    with self.assertRaisesRegex(ValueError, "has samples of workdir '/a', not '/b'; repeat"):
      self._check(workdir="/b", solver="euler")

  @parameterized.parameters(None, "", "[1, 2]", '{"seed": ')
  def test_a_folder_of_something_else_is_refused(self, text):
    self.directory.mkdir(parents=True)
    (self.directory / "holiday.png").touch()
    if text is not None:
      self.path.write_text(text)
    with self.assertRaisesRegex(ValueError, "samples is not empty, and .*settings.json does not"):
      self._check(seed=1)

  def test_a_check_writes_nothing(self):
    settings_record.check(self.path, self.directory, {"seed": 1}, "samples_dir")
    self.assertFalse(self.directory.parent.exists())

  def test_a_record_that_was_cut_off_is_written_again(self):
    self.directory.mkdir(parents=True)
    (self.directory / "settings.json.0.partial").write_text('{"seed"')
    self._check(seed=1)
    self.assertEqual(json.loads(self.path.read_text()), {"seed": 1})
    self.assertLen(list(self.directory.iterdir()), 1)


if __name__ == "__main__":
  absltest.main()
