"""Prints a table of the paper, next to what was measured here.

  ntm table 3
  ntm table 1 --results=geneval.jsonl,dpg.txt
  ntm table 6 --results=t4.json,t8.json --format=markdown

Tables 1 (text to image), 2 (speed), 3 (coefficients of the posterior) and 6 (ImageNet). Table 1
reads what the official tools wrote of the pictures of one model, GenEval's .jsonl and DPG-Bench's
.txt; table 6 files of `ntm evaluate --features=DIRECTORY --json=FILE`. Below the table is what
each figure was measured by. What was not measured says so.
"""

import json
import math
import pathlib
import sys
from collections.abc import Sequence

from absl import flags

from ntm.commands import entry_point
from ntm.evaluation import official_results, published
from ntm.evaluation.published import NOT_MEASURED, Table

_TABLES = {1: lambda: published.TEXT_TO_IMAGE, 2: lambda: published.SPEED,
           3: published.coefficients, 6: lambda: published.IMAGENET}
FLAGS = flags.FlagValues()
_NUMBER = flags.DEFINE_integer("number", None, "Number of the table in the paper: 1, 2, 3, 6. `ntm "
                               "table 3` is short for `ntm table --number=3`.", 1, 6,
                               required=True, flag_values=FLAGS)
_RESULTS = flags.DEFINE_list("results", [], "Files of results: for table 1 of GenEval and "
                             "DPG-Bench, for table 6 of `ntm evaluate`.", flag_values=FLAGS)
_FORMAT = flags.DEFINE_enum("format", "text", ["text", "markdown", "json"], "How to print it.",
                            flag_values=FLAGS)


def main(_) -> None:
  """Prints the table."""
  number = _NUMBER.value
  if number not in _TABLES:
    raise ValueError(f"table {number} is not among those that can be compared; expected one of "
                     f"{', '.join(map(str, _TABLES))}.")
  if number not in (1, 6):
    entry_point.refuse(FLAGS, ["results"], f"table {number} reads no files of results")
  table = _TABLES[number]()
  results = {1: text_to_image, 6: imagenet}.get(number, lambda paths: [])(_RESULTS.value)
  print(as_json(table, results) if _FORMAT.value == "json" else
        as_text(table, rows(number, table, results), results, _FORMAT.value == "markdown"))


def text_to_image(paths: Sequence[str]) -> list[dict]:
  """Results of at most one file of GenEval and one of DPG-Bench.

  Raises:
    ValueError: a file of another kind, or two of one kind.
  """
  readers = {".jsonl": official_results.geneval, ".txt": official_results.dpg}
  results = {}
  for path in paths:
    suffix = pathlib.Path(path).suffix
    if suffix not in readers or suffix in results:
      raise ValueError(f"--results is {','.join(paths)}; expected at most one .jsonl file of "
                       "GenEval and one .txt file of DPG-Bench.")
    results[suffix] = {"results": path} | readers[suffix](path)
  return [results[suffix] for suffix in readers if suffix in results]


def imagenet(paths: Sequence[str]) -> list[dict]:
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
    if (not isinstance(result, dict) or result.get("features") != "inception"
        or not {"frechet_distance", "num_samples", "num_steps"} <= result.keys()):
      raise ValueError(f"--results has {path}, which has no FID; expected a file of `ntm evaluate "
                       "--features=DIRECTORY --json=FILE`, with the converted Inception.")
    if not all(isinstance(result[name], int | float) and math.isfinite(result[name])
               for name in ("frechet_distance", "num_samples", "num_steps")):
      raise ValueError(f"--results has {path}, whose frechet_distance, num_samples or num_steps is "
                       "no finite number; expected a file as `ntm evaluate --json` wrote it.")
    results.append({"results": path} | result)
  return sorted(results, key=lambda result: result["num_steps"])


def rows(number: int, table: Table, results: Sequence[dict]) -> list[tuple]:
  """Our rows of a table."""
  if number == 3:
    return []  # Computed, not measured.
  if number == 6 and results:
    return [(f"ntm, {result['num_samples']:,} samples", result["num_steps"],
             result["frechet_distance"]) for result in results]
  found = {name: result[name] for result in results for name in ("geneval", "dpg")
           if name in result}
  cells = [found.get(name, NOT_MEASURED) for name in ("geneval", "dpg")]
  return [("ntm", *(cells if number == 1 else [NOT_MEASURED] * (len(table.columns) - 1)))]


def as_json(table: Table, results: Sequence[dict]) -> str:
  """The published rows and the results as they are."""
  published_rows = [dict(zip(table.columns, row)) for row in table.rows]
  return json.dumps({"title": table.title, "notes": table.notes, "published": published_rows,
                     "measured": results}, indent=2)


def as_text(table: Table, ours: Sequence[tuple], results: Sequence[dict], markdown: bool) -> str:
  """The table with our rows, its notes, and what ours were measured by."""
  cells = [list(table.columns)] + [
      [_text(cell, pattern) for cell, pattern in zip(row, table.columns.values())]
      for row in (*table.rows, *ours)]
  if markdown:
    lines = [f"| {' | '.join(row)} |" for row in (cells[0], ["---"] * len(cells[0]), *cells[1:])]
  else:
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
             for row in cells]
  sources = ["ntm: " + ", ".join(f"{name} {value:.6g}" if isinstance(value, float) else
                                 f"{name} {value}" for name, value in result.items()
                                 if isinstance(value, str | int | float)) for result in results]
  return "\n".join([table.title, "", *lines, *(f"\n{text}" for text in (*table.notes, *sources))])


def _text(cell, pattern):
  if cell is None:
    return ""
  return cell if isinstance(cell, str) else format(cell, pattern)


def run(argv: Sequence[str] | None = None) -> None:
  """The entry point; the number may stand without its flag."""
  argv = list(sys.argv if argv is None else argv)
  if len(argv) > 1 and not argv[1].startswith("-"):
    argv[1] = f"--number={argv[1]}"
  entry_point.run(main, argv, values=FLAGS, about=__doc__)


if __name__ == "__main__":
  run()
