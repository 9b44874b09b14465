"""Prints a table of the paper, next to what was measured here, or measures its claims.

  ntm table 3
  ntm table 1 --results=geneval.jsonl,dpg.txt
  ntm table 6 --results=t4.json,t8.json --format=markdown
  ntm table --reduced --results_dir=runs/reduced

Tables 1 (text to image), 2 (speed), 3 (coefficients of the posterior) and 6 (ImageNet). Table 1
reads what the official tools wrote of the pictures of one model, GenEval's .jsonl and DPG-Bench's
.txt; table 6 files of `ntm evaluate --features=DIRECTORY --json=FILE`. Below the table is what
each figure was measured by. What was not measured says so.

With --reduced it trains and evaluates small models, once per seed, on two CPU cores within hours,
and prints what was compared and which claims of the paper the figures confirm. What is done is
not done again, and a training that was interrupted resumes. --docs writes the page of these
tables, docs/ablations.md.
"""

import json
import math
import pathlib
import sys
from collections.abc import Sequence

from absl import flags

from ntm.ablations import pages, recipes, running, tables
from ntm.ablations import rows as rows_lib
from ntm.commands import entry_point, shared_flags
from ntm.evaluation import official_results, published
from ntm.evaluation.published import NOT_MEASURED, Table

_TABLES = {1: lambda: published.TEXT_TO_IMAGE, 2: lambda: published.SPEED,
           3: published.coefficients, 6: lambda: published.IMAGENET}
FLAGS = flags.FlagValues()
_NUMBER = flags.DEFINE_integer("number", None, "Number of the table in the paper: 1, 2, 3, 6. `ntm "
                               "table 3` is short for `ntm table --number=3`.", 1, 6,
                               flag_values=FLAGS)
_RESULTS = flags.DEFINE_list("results", [], "Files of results: for table 1 of GenEval and "
                             "DPG-Bench, for table 6 of `ntm evaluate`.", flag_values=FLAGS)
_FORMAT = flags.DEFINE_enum("format", "text", ["text", "markdown", "json"], "How to print it.",
                            flag_values=FLAGS)
_REDUCED = flags.DEFINE_boolean("reduced", False, "Train, evaluate and compare small models: the "
                                "claims of the paper at the scale of two CPU cores.",
                                flag_values=FLAGS)
_RESULTS_DIR = flags.DEFINE_string("results_dir", "runs/reduced", "Folder of the runs of --reduced "
                                   "and of their results.jsonl.", flag_values=FLAGS)
_ONLY = flags.DEFINE_list("only", [], "Experiments to run, of ntm/ablations/experiments.py; all by "
                          "default.", flag_values=FLAGS)
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds to train with, one after the other.",
                           flag_values=FLAGS)
_QUICK = flags.DEFINE_boolean("quick", False, "Three updates and few samples, to see that it runs.",
                              flag_values=FLAGS)
_DOCS = flags.DEFINE_string("docs", None, "Folder of the documentation, in which the page of the "
                            "ablations is written from the results.", flag_values=FLAGS)


def main(_) -> None:
  """Prints the table."""
  number = _NUMBER.value
  if _REDUCED.value:
    entry_point.refuse(FLAGS, ["number", "results"], "--reduced has tables of its own")
    reduced()
    return
  entry_point.refuse(FLAGS, ["results_dir", "only", "seeds", "quick", "docs"],
                     "only --reduced trains models")
  if number is None:
    raise ValueError("--number is missing; expected --number=N of a table of the paper, or "
                     "--reduced.")
  if number not in _TABLES:
    raise ValueError(f"table {number} is not among those that can be compared; expected one of "
                     f"{', '.join(map(str, _TABLES))}.")
  if number not in (1, 6):
    entry_point.refuse(FLAGS, ["results"], f"table {number} reads no files of results")
  table = _TABLES[number]()
  results = {1: text_to_image, 6: imagenet}.get(number, lambda paths: [])(_RESULTS.value)
  print(as_json(table, results) if _FORMAT.value == "json" else
        as_text(table, rows(number, table, results), results, _FORMAT.value == "markdown"))


def reduced() -> None:
  """Makes the rows that are missing, prints their tables and writes the documentation.

  Raises:
    ValueError: a flag or a folder that does not fit, or runs that failed, after printing.
  """
  results = pathlib.Path(_RESULTS_DIR.value)
  entry_point.check_directory("results_dir", _RESULTS_DIR.value)
  if _DOCS.value:
    if _QUICK.value:
      entry_point.refuse(FLAGS, ["docs"], "--quick measures nothing")
    pages.check(pathlib.Path(_DOCS.value))
  wanted = recipes.chosen(_ONLY.value, _seeds(), _QUICK.value)
  failed = running.run(wanted, results)
  found = rows_lib.read(results)
  rows = rows_lib.valid(found, _QUICK.value)
  if _FORMAT.value == "json":
    print(json.dumps(tables.as_json(rows), indent=2))
  else:
    made = [tables.study(name, rows) for name in tables.STUDIES]
    print("\n\n".join(as_text(table, (), (), _FORMAT.value == "markdown")
                      for table in (*made, tables.verdicts(rows), tables.provenance(rows))))
  if _DOCS.value:
    pages.write(pathlib.Path(_DOCS.value), found)
  if failed:
    raise ValueError(f"{len(failed)} runs failed; the same command tries them again.\n"
                     + "\n".join(failed))


def _seeds() -> list[int]:
  seeds = [int(seed) if seed.isdecimal() else -1 for seed in _SEEDS.value]
  if min(seeds) < 0 or max(seeds) > shared_flags.MAX_SEED or len(set(seeds)) < len(seeds):
    raise ValueError(f"--seeds is {','.join(_SEEDS.value)}; expected different integers from 0 to "
                     f"{shared_flags.MAX_SEED}.")
  return seeds


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
                     "measured": results}, indent=2, ensure_ascii=False)


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
