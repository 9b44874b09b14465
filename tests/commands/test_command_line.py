"""--help, and mistakes of a config file."""

import contextlib
import importlib
import io
import pathlib
import tempfile

from absl.testing import absltest, parameterized

from ntm import config as config_lib
from ntm.commands import main
from ntm.config import renamed
from tests.helpers import runs


class HelpTest(parameterized.TestCase):

  @parameterized.parameters(*main.COMMANDS)
  def test_lists_the_flags_of_the_command_and_no_others(self, command):
    module, stdout = importlib.import_module(f"ntm.commands.{command}"), io.StringIO()
    with contextlib.redirect_stdout(stdout), self.assertRaises(SystemExit) as done:
      module.run([f"ntm {command}", "--help"])
    self.assertEqual(done.exception.code, 0)
    usage, _, about, _, *lines = stdout.getvalue().splitlines()
    self.assertRegex(usage, rf"^usage: ntm {command} \[?--")  # `table` needs none.
    self.assertEndsWith(about, ".")
    listed = {line.split()[0] for line in lines if line.startswith("  --")}
    self.assertEqual(listed - {"--config.KEY=VALUE"}, {f"--{name}" for name in module.FLAGS})
    self.assertLess(max(map(len, stdout.getvalue().splitlines())), 101)

  def test_commands_with_a_config_say_where_its_keys_are(self):
    for command in ("train", "distill", "compile"):
      text = " ".join(self._help(command).split())
      for part in ("module:name", "docs/extending.md", "print(c.default())"):
        self.assertIn(part, text)
    self.assertNotIn("module:name", self._help("sample"))
    self.assertIn("peak_learning_rate", str(config_lib.default()))  # What is printed.

  def _help(self, command):
    stdout = io.StringIO()
    with contextlib.redirect_stdout(stdout), self.assertRaises(SystemExit):
      importlib.import_module(f"ntm.commands.{command}").run([f"ntm {command}", "--help"])
    return stdout.getvalue()


class ConfigFileTest(parameterized.TestCase):

  @parameterized.parameters(*renamed.RENAMED)
  def test_an_old_key_gives_the_new_one(self, old):
    section, key = old.split(".")
    for line in (f"config.{old} = 1", f"config.{section}.update(dict({key}=1))",
                 f"config.train.steps = config.{old}"):
      self.assertRegex(self._error(line), rf"^error: config file .*mine.py, line 4: config.{old} "
                       rf"was renamed; use config.{renamed.today(old)}.$")

  @parameterized.parameters(
      ("config.optimizer.peek = 1", "AttributeError: Key .peek. does not exist"),
      ("{}['peak']", "KeyError: peak"))
  def test_another_key_is_an_error_as_before(self, line, message):
    error = self._error(line)
    self.assertRegex(error, f"mine.py, line 4: {message}")
    self.assertNotIn("renamed", error)

  def _error(self, line):
    directory = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    (directory / "mine.py").write_text(f"from ntm import config as c\ndef get_config():\n"
                                       f"  config = c.default()\n  {line}\n  return config\n")
    code, error = runs.call("train", f"--config={directory}/mine.py", f"--workdir={directory}/run")
    self.assertEqual(code, 1)
    return error.rstrip()


if __name__ == "__main__":
  absltest.main()
