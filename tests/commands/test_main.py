"""The script `ntm` finds its commands."""

import os
import pathlib
import subprocess
import sys

from absl.testing import absltest, parameterized


class MainTest(parameterized.TestCase):

  @parameterized.parameters(
      ([], 2, "usage: ntm <command>"), (["--help"], 0, "usage: ntm <command>"),
      (["trian"], 2, "error: 'trian' is not a command of ntm; did you mean 'train'?"),
      (["nonsense"], 2, "error: 'nonsense' is not a command of ntm; expected one of train, "),
      (["convert", "--help"], 0, "usage: ntm convert --source=... --target=..."))
  def test_as_typed(self, arguments, code, start):
    done = subprocess.run([sys.executable, "-m", "ntm.commands.main", *arguments],
                          capture_output=True, text=True, cwd=pathlib.Path(__file__).parents[2],
                          env=os.environ)
    self.assertEqual(done.returncode, code)
    self.assertStartsWith(done.stderr + done.stdout, start)
    self.assertLessEqual(len(done.stderr.splitlines()), 1)


if __name__ == "__main__":
  absltest.main()
