"""The fuzzer finds nothing in the program, and would find it."""

import pytest
from absl.testing import absltest

from tests.tools import fuzz


def _same(rng):
  rng.random()


def _clear(rng):
  raise ValueError("width is 3; expected 4.")


def _many_lines(rng):
  raise ValueError("\n" * 100)


def _bug(rng):
  raise KeyError("width")


def _wrong(rng):
  raise fuzz.WrongAcceptance("other numbers")


class FuzzTest(absltest.TestCase):

  def test_outcomes_are_counted_apart(self):
    subjects = {"same": _same, "clear": _clear, "lines": _many_lines, "bug": _bug, "wrong": _wrong}
    counts = fuzz.run(subjects, seconds=0, tries=3)
    self.assertEqual({name: dict(count.outcomes) for name, count in counts.items()},
                     {"same": {"same": 3}, "clear": {"clear": 3}, "lines": {"traceback": 3},
                      "bug": {"traceback": 3}, "wrong": {"wrong": 3}})
    self.assertIn("| bug | 3 | 0 | 0 | 3 | 0 |", fuzz.table(counts))
    self.assertIn("bug, --seed=0 --first=2", counts["bug"].reports[2])

  @pytest.mark.slow
  def test_mistakes_end_in_clear_errors(self):
    from tests.tools import fuzz_subjects
    counts = fuzz.run(fuzz_subjects.SUBJECTS, seconds=110)
    reports = [report for count in counts.values() for report in count.reports]
    self.assertEmpty(reports, "\n".join([fuzz.table(counts), *reports]))
    for name, count in counts.items():
      self.assertGreater(count.outcomes["clear"], 0, name)


if __name__ == "__main__":
  absltest.main()
