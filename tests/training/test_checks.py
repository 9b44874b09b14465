import pathlib
import tempfile

from absl.testing import absltest

from ntm.training import checks
from tests.helpers import tiny


class CheckRunTest(absltest.TestCase):

  def test_levels_that_do_not_ascend_are_refused_and_nothing_is_written(self):
    workdir = tempfile.mkdtemp()
    config = tiny.config(process={"schedule": "shifted", "num_steps": (64,)}, mesh={"data": -1})
    with self.assertRaisesRegex(ValueError, "do not ascend strictly; .*lower t_min"):
      checks.check_run(config, workdir)
    self.assertEmpty(list(pathlib.Path(workdir).iterdir()))

  def test_one_coupling_block_is_warned_of(self):
    with self.assertLogs("ntm", "WARNING") as logs:
      checks.warn_of_kept_tokens(tiny.config(model__transporter__kind="coupling"))
    self.assertIn("one coupling block leaves half of the tokens as they are", logs.output[0])
    with self.assertNoLogs("ntm", "WARNING"):
      for blocks, kind in ((2, "coupling"), (0, "coupling"), (1, "autoregressive")):
        checks.warn_of_kept_tokens(tiny.config(model__transporter__kind=kind,
                                               model__transporter__num_blocks=blocks))


if __name__ == "__main__":
  absltest.main()
