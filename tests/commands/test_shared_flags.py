"""Flags of all commands are bounded and explained; those that several have are the same in all."""

import importlib

from absl import flags
from absl.testing import absltest, parameterized

from ntm.commands import main


class SharedFlagsTest(parameterized.TestCase):

  @parameterized.parameters(*main.COMMANDS)
  def test_numbers_are_bounded_and_helps_are_sentences(self, command):
    values = importlib.import_module(f"ntm.commands.{command}").FLAGS
    for name in values:
      self.assertEndsWith(values[name].help, ".")
      parser = values[name].parser
      if isinstance(parser, flags.IntegerParser | flags.FloatParser) and name != "checkpoint":
        self.assertIsNotNone(parser.lower_bound, name)
        self.assertIsNotNone(parser.upper_bound, name)

  def test_flags_of_one_name_have_one_type_and_one_range(self):
    kinds = {}
    for command in main.COMMANDS:
      values = importlib.import_module(f"ntm.commands.{command}").FLAGS
      for name in values:
        parser = values[name].parser
        kinds.setdefault(name, set()).add((type(parser), getattr(parser, "upper_bound", None),
                                           getattr(parser, "enum_values", None) and
                                           tuple(parser.enum_values)))
    # `ntm convert --export` converts back, and `ntm evaluate --export=adm` names a format.
    self.assertEqual({name for name, found in kinds.items() if len(found) > 1}, {"export"})


if __name__ == "__main__":
  absltest.main()
