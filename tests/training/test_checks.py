import pathlib
import tempfile

from absl.testing import absltest

from ntm.training import checks
from tests.helpers import tiny


class CheckRunTest(absltest.TestCase):

  def test_levels_that_do_not_ascend_are_refused_and_nothing_is_written(self):
    workdir = tempfile.mkdtemp()
    config = tiny.config(process={"schedule": "shifted", "num_steps": (64,)}, mesh={"data": -1})
    with self.assertRaisesRegex(ValueError, "do not ascend strictly; lower t_min"):
      checks.check_run(config, workdir)
    self.assertEmpty(list(pathlib.Path(workdir).iterdir()))


if __name__ == "__main__":
  absltest.main()
