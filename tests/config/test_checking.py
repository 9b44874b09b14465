"""A failed check says which value is wrong and what is expected."""

import types

from absl.testing import absltest

from ntm.config import checking


class CheckingTest(absltest.TestCase):

  def test_a_failure_names_key_value_and_expectation(self):
    checking.require(True, "train.steps", 0, "at least 1")
    with self.assertRaisesRegex(ValueError, "^config.train.steps is 0; expected at least 1.$"):
      checking.require(False, "train.steps", 0, "at least 1")

  def test_settings_that_nothing_reads_keep_their_defaults(self):
    section = types.SimpleNamespace(rate=0.5, mode="fast")
    checking.unread(section, "part", "the other kind", rate=0.5, mode="fast")
    with self.assertRaisesRegex(
        ValueError, "config.part.mode is 'fast'; expected 'slow' without the other kind, which"):
      checking.unread(section, "part", "the other kind", rate=0.5, mode="slow")

  def test_flags_that_set_all_that_nothing_reads_are_ready_to_be_copied(self):
    section = types.SimpleNamespace(rate=0.1, mode="fast", sizes=(1,), steps=3)
    with self.assertRaises(ValueError) as raised:
      checking.unread(section, "part", "it", rate=0.5, mode="", sizes=(), steps=3)
    self.assertEqual(
        str(raised.exception), "config.part.rate is 0.1; expected 0.5 without it, which alone "
        "reads it (--config.part.rate=0.5 --config.part.mode='' --config.part.sizes='()').")


if __name__ == "__main__":
  absltest.main()
