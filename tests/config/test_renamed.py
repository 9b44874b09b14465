"""A config.json of before the keys had their present names."""

import json
import pathlib
import tempfile

from absl.testing import absltest

from ntm import config as config_lib
from ntm.config import renamed
from ntm.training import workdir
from tests.helpers import tiny


class RenamedTest(absltest.TestCase):

  def test_every_new_name_is_a_key(self):
    values = config_lib.to_dict(config_lib.Config())
    for old, new in renamed.RENAMED.items():
      section, key = old.split(".")
      self.assertIn(new, values[section])
      self.assertNotIn(key, values[section])

  def test_an_old_workdir_is_read(self):
    config = tiny.config()
    values = json.loads(json.dumps(config_lib.to_dict(config)))
    for old, new in renamed.RENAMED.items():
      section, key = old.split(".")
      values[section][key] = values[section].pop(new)
    directory = pathlib.Path(tempfile.mkdtemp())
    (directory / "config.json").write_text(json.dumps(values))
    self.assertEqual(workdir.read(directory), config)

  def test_config_files_take_todays_names_alone(self):
    with self.assertRaisesRegex(
        ValueError, "optimizer.peak was renamed; use config.optimizer.peak_learning_rate"):
      config_lib.from_dict({"optimizer": {"peak": 1e-3}})


if __name__ == "__main__":
  absltest.main()
