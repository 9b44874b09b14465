"""Prints a table of the paper, next to what was measured here.

  ntm table 3
  ntm table 6 --results=runs/t4.json,runs/t8.json --format=markdown

Tables 1 (text to image), 2 (speed), 3 (coefficients of the posterior) and 6 (ImageNet). The
files of --results are those of `ntm evaluate --features=inception --json=FILE`; each gives a
row of table 6, with what it was measured by. What was not measured says so.
"""

import json
import pathlib
import sys

from absl import flags

from ntm.commands import entry_point
from ntm.evaluation import published
from ntm.evaluation.published import NOT_MEASURED, Table

_TABLES = {1: lambda: published.TEXT_TO_IMAGE, 2: lambda: published.SPEED,
           3: published.coefficients, 6: lambda: published.IMAGENET}
FLAGS = flags.FlagValues()
_NUMBER = flags.DEFINE_integer("number", None, "Number of the table in the paper: 1, 2, 3, 6. `ntm "
                               "table 3` is short for `ntm table --number=3`.",
                               required=True, flag_values=FLAGS)
_RESULTS = flags.DEFINE_list("results", [], "Files of `ntm evaluate --json`, for table 6.",
                             flag_values=FLAGS)
_FORMAT = flags.DEFINE_enum("format", "text", ["text", "markdown", "json"], "How to print it.",
                            flag_values=FLAGS)


def main(_) -> None:
  """Prints the table."""
  if _NUMBER.value not in _TABLES:
    raise ValueError(f"table {_NUMBER.value} is not among those that can be compared; expected one "
                     f"of {', '.join(map(str, _TABLES))}.")
  if _NUMBER.value != 6:
    entry_point.refuse(FLAGS, ["results"], f"table {_NUMBER.value} has no row of `ntm evaluate`")
  print(render(_TABLES[_NUMBER.value](), measured(_RESULTS.value), _FORMAT.value))


def measured(paths: list[str]) -> list[dict]:
  """Results of `ntm evaluate`, in order of their steps.

  Raises:
    ValueError: a file that cannot be read, or is of another kind.
  """
  results = []
  for path in paths:
    try:
      result = json.loads(pathlib.Path(path).read_text())
    except (OSError, ValueError) as error:
      raise ValueError(f"--results has {path}, which cannot be read ({error}); expected a file of "
                       "`ntm evaluate --json`.") from error
    if not isinstance(result, dict) or not {"fid", "num_steps", "num_samples"} <= result.keys():
      raise ValueError(f"--results has {path}, which has no FID; expected a file of `ntm evaluate "
                       "--features=inception --json=FILE`.")
    results.append(result)
  return sorted(results, key=lambda result: result["num_steps"])


def render(table: Table, results: list[dict], style: str) -> str:
  """The table with our rows, as text, Markdown or JSON."""
  ours = [("ntm", result["num_steps"], result["fid"]) for result in results]
  if not ours and "coefficients" not in table.columns:
    ours = [("ntm", *[NOT_MEASURED] * (len(table.columns) - 1))]
  if style == "json":
    return json.dumps({
        "title": table.title, "notes": table.notes,
        "published": [dict(zip(table.columns, row)) for row in table.rows],
        "measured": [result | {"model": "ntm"} for result in results]}, indent=2)
  rows = [[_text(cell, pattern) for cell, pattern in zip(row, table.columns.values())]
          for row in (*table.rows, *ours)]
  lines = _markdown(table.columns, rows) if style == "markdown" else _text_lines(
      table.columns, rows)
  return "\n".join([table.title, "", *lines, *(f"\n{note}" for note in table.notes),
                    *(f"\nntm, {result['num_steps']} evaluations: {_provenance(result)}"
                      for result in results)])


def _provenance(result):
  """What a measured figure was measured by, in one line."""
  return ", ".join(f"{name} {result[name]}" for name in result
                   if name not in ("fid", "num_steps") and isinstance(result[name], str | int))


def _text(cell, pattern):
  if cell is None:
    return ""
  return cell if isinstance(cell, str) else format(cell, pattern)


def _markdown(columns, rows):
  return [f"| {' | '.join(row)} |" for row in (columns, ["---"] * len(columns), *rows)]


def _text_lines(columns, rows):
  widths = [max(map(len, column)) for column in zip(columns, *rows)]
  return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
          for row in (columns, *rows)]


def run(argv: list[str] | None = None) -> None:
  """The entry point; the number may stand without its flag."""
  argv = list(sys.argv if argv is None else argv)
  if len(argv) > 1 and not argv[1].startswith("-"):
    argv[1] = f"--number={argv[1]}"
  entry_point.run(main, argv, values=FLAGS, about=__doc__)


if __name__ == "__main__":
  run()
