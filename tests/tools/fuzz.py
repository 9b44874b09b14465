"""Throws random mistakes at the program and counts what it makes of them.

  python -m tests.tools.fuzz --seconds=120 --seed=0

A try is good input damaged at random. It should end with the same result as the
undamaged one, or with a clear error: an exception of the kinds that
`ntm.commands.entry_point` prints, of few lines. Anything else is a traceback; a
result that is neither right nor refused is a wrong acceptance. Each subject's
i-th try depends on (seed, i) alone: `--subject=converted --first=17 --tries=1`
repeats one.
"""

import argparse
import collections
import dataclasses
import time
import traceback
from collections.abc import Callable

import numpy as np

CLEAR = (ValueError, OSError, ImportError, FloatingPointError)
_MAX_LINES = 12  # A converted file may lack many tensors; each is named in a line of its own.


class WrongAcceptance(AssertionError):
  """Damaged input was taken, and the result is not what it should be."""


@dataclasses.dataclass
class Count:
  """Outcomes of a subject: tries = same + clear + traceback + wrong.

  Attributes:
    outcomes: how often each.
    reports: of tracebacks and wrong acceptances, what happened.
  """

  outcomes: collections.Counter = dataclasses.field(default_factory=collections.Counter)
  reports: list[str] = dataclasses.field(default_factory=list)

  @property
  def tries(self) -> int:
    """All of them."""
    return self.outcomes.total()


def attempt(subject: str, once: Callable, seed: int, index: int) -> tuple[str, str]:
  """One try of a subject: (outcome, report)."""
  rng = np.random.default_rng([seed, index])
  where = f"{subject}, --seed={seed} --first={index}"
  try:
    once(rng)
  except WrongAcceptance as error:
    return "wrong", f"{where}: {error}"
  except CLEAR as error:
    text = str(error)
    if not text or text.count("\n") >= _MAX_LINES:
      return "traceback", f"{where}: {type(error).__name__} of {text.count(chr(10))} lines: {text}"
    return "clear", ""
  except Exception:
    return "traceback", f"{where}: {traceback.format_exc()}"
  return "same", ""


def run(subjects: dict[str, Callable], seconds: float, seed: int = 0, first: int = 0,
        tries: int | None = None) -> dict[str, Count]:
  """Tries the subjects for equal shares of the time, or `tries` times each."""
  counts = {}
  for name, once in subjects.items():
    counts[name] = Count()
    end, index = time.monotonic() + seconds / len(subjects), first
    while index < first + tries if tries else time.monotonic() < end:
      outcome, report = attempt(name, once, seed, index)
      counts[name].outcomes[outcome] += 1
      counts[name].reports += [report] if report else []
      index += 1
  return counts


def table(counts: dict[str, Count]) -> str:
  """The outcomes, a subject per row, as Markdown."""
  rows = ["| subject | tries | same result | clear error | traceback | wrong acceptance |",
          "|---|---|---|---|---|---|"]
  for name, count in counts.items():
    kinds = ("same", "clear", "traceback", "wrong")
    figures = [count.tries, *(count.outcomes[kind] for kind in kinds)]
    rows.append(f"| {name} | " + " | ".join(map(str, figures)) + " |")
  return "\n".join(rows)


def main() -> None:
  """Runs the subjects and prints the table, then every report."""
  from tests.tools import fuzz_subjects
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--seconds", type=float, default=120.0, help="for all subjects together")
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--subject", choices=fuzz_subjects.SUBJECTS, help="only this one")
  parser.add_argument("--first", type=int, default=0, help="index of the first try")
  parser.add_argument("--tries", type=int, help="per subject, in place of --seconds")
  args = parser.parse_args()
  subjects = fuzz_subjects.SUBJECTS
  if args.subject:
    subjects = {args.subject: subjects[args.subject]}
  counts = run(subjects, args.seconds, args.seed, args.first, args.tries)
  print(table(counts))
  for count in counts.values():
    print(*count.reports, sep="\n")


if __name__ == "__main__":
  from tests import conftest  # noqa: F401  The devices and quick compiles of the tests.
  from tests.tools import fuzz  # noqa: F401  The devices and quick compiles of the tests.
  fuzz.main()  # Not `main`: the subjects raise the WrongAcceptance of `tests.tools.fuzz`.
