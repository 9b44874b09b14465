"""The page of the documentation, written from rows.

A page holds a table between `<!-- table: NAME -->` and `<!-- -->`. The rows of docs/ablations.md
are in docs/measurements/ablations.jsonl.
"""

import json
import pathlib
import re
from collections.abc import Callable, Mapping

from ntm.ablations import figure, tables
from ntm.ablations import rows as rows_lib
from ntm.ablations.studies import STUDIES

Blocks = Mapping[str, Callable[[], str]]
_BLOCK = re.compile(r"(<!-- table: (\w+) -->\n)(.*?)(<!-- -->)", re.DOTALL)
_PAGE, _ROWS, _PICTURE = "ablations.md", "measurements/ablations.jsonl", "images/ablations.png"


def rewritten(text: str, blocks: Blocks) -> tuple[str, dict[str, str]]:
  """A page with its tables made anew.

  Args:
    text: of the page.
    blocks: {name: what makes the table}.

  Returns:
    (the text, {name: table} of those that differ).

  Raises:
    ValueError: the page has another table.
  """
  different = {}
  for start, name, before, end in _BLOCK.findall(text):
    if name not in blocks:
      raise ValueError(f"a page has the table {name!r}; expected one of {', '.join(blocks)}.")
    if before != (table := blocks[name]()):
      different[name] = table
      text = text.replace(start + before + end, start + table + end)
  return text, different


def blocks(docs: pathlib.Path) -> dict[str, Callable[[], str]]:
  """Tables of the rows in a folder of documentation, by name."""
  rows = rows_lib.valid(recorded(docs))
  made = {"ablation_claims": lambda: tables.markdown(tables.verdicts(rows)),
          "ablation_runs": lambda: tables.markdown(tables.provenance(rows)),
          "ablation_picture": lambda: (f"![Fréchet distance over T]({_PICTURE})\n"
                                       if figure.points(rows) else "Picture: not yet measured.\n")}
  return made | {f"ablation_{name}": lambda name=name: tables.markdown(tables.study(name, rows))
                 for name in STUDIES}


def picture_is_current(docs: pathlib.Path) -> bool:
  """Whether the picture is of the rows; there is none of no rows."""
  rows, path = rows_lib.valid(recorded(docs)), docs / _PICTURE
  if not figure.points(rows):
    return not path.exists()
  return path.exists() and figure.digest_of_file(path) == figure.digest(rows)


def recorded(docs: pathlib.Path) -> list[dict]:
  """The rows in a folder of documentation."""
  return [json.loads(line) for line in (docs / _ROWS).read_text().splitlines()]


def check(docs: pathlib.Path) -> None:
  """Raises ValueError unless the folder has the page and the file of rows."""
  for name in (_PAGE, _ROWS):
    if not (docs / name).is_file():
      raise ValueError(f"--docs is {docs}, which has no {name}; expected the folder docs of the "
                       "repository.")


def write(docs: pathlib.Path, rows: list[dict]) -> None:
  """Adds rows to those of the documentation, and writes its page and picture.

  A row replaces the one of the same experiment, seed and way to sample; rows of recipes that are
  not today's are dropped.

  Args:
    docs: folder of the documentation.
    rows: in order of writing.
  """
  current = rows_lib.valid([*recorded(docs), *rows])
  (docs / _ROWS).write_text("".join(json.dumps(current[key]) + "\n" for key in sorted(current)))
  page = docs / _PAGE
  text, different = rewritten(page.read_text(), blocks(docs))
  if different:
    page.write_text(text)
  if figure.points(current):
    figure.draw(current, docs / _PICTURE)
  else:
    (docs / _PICTURE).unlink(missing_ok=True)
