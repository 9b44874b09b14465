"""docs/troubleshooting.md has the messages of the code, all that users can meet and no others."""

import ast
import pathlib
import re

from absl.testing import absltest, parameterized

_ROOT = pathlib.Path(__file__).parents[1]
_GAP = "..."
# What only callers of Python functions can meet: wrong arguments, not wrong input.
_INTERNAL = (
    "testing/", "evaluation/frechet.py", "evaluation/moments.py", "evaluation/scenes.py",
    "likelihood/editing.py",
    "sampling/ode.py", "likelihood/spread.py", "models/", "nn/", "truth/",
    "published/autoencoders/model.py", "published/flux2/blocks.py", "published/flux2/model.py",
    "published/qwen/model.py", "published/sit/model.py", "published/tarflow/model.py",
    "performance/collectives.py", "performance/hlo.py")
_INTERNAL_MESSAGES = (
    # As above, in modules whose other messages are for users.
    "split is ...; expected one of", "schedule is ...; expected one of", "num_tokens is ...; the",
    "num_steps is ...; a trajectory", "times has shape", "times ... leave [0, 1]", "times end at",
    ": no numbers for", " is unknown or given twice", "...: ... is ..., not ...",
    # Caught and worded again where the file is known.
    "it is one array", "it is not a JSON object")


def _template(node) -> str | None:
  """A string literal with a gap for every value in it; None for what is no literal."""
  if isinstance(node, ast.Constant) and isinstance(node.value, str):
    return node.value
  if isinstance(node, ast.JoinedStr):
    return "".join(part.value if isinstance(part, ast.Constant) else _GAP for part in node.values)
  return None


def _files():
  for path in sorted((_ROOT / "ntm").rglob("*.py")):
    yield str(path.relative_to(_ROOT / "ntm")), ast.parse(path.read_text())


def _literals() -> list[str]:
  """All strings of the code."""
  return [text for _, tree in _files() for node in ast.walk(tree)
          if (text := _template(node)) is not None]


def _raised() -> list[tuple[str, str]]:
  """(file, message) of every `raise` with a message of its own that users can meet."""
  messages = []
  for file, tree in _files():
    for node in ast.walk(tree):
      if (isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args
          and (text := _template(node.exc.args[0])) is not None
          and re.search("[a-z]{3}", text)  # Else the message is made elsewhere.
          and not file.startswith(_INTERNAL)
          and not any(part in text for part in _INTERNAL_MESSAGES)):
        messages.append((file, text))
  return messages


def _rows() -> list[list[str]]:
  """The cells of the page's tables."""
  lines = (_ROOT / "docs" / "troubleshooting.md").read_text().splitlines()
  return [[cell.strip() for cell in line.strip("|").split(" | ")]
          for line in lines if line.startswith("| ") and not line.startswith("| message")]


def _patterns() -> list[str]:
  """The messages in the first cells; double backticks may hold single ones."""
  found = [re.findall("`` (.+?) ``|`([^`]+)`", row[0]) for row in _rows()]
  return [double or single for row in found for double, single in row]


class TroubleshootingTest(parameterized.TestCase):

  def test_every_row_has_a_message_a_cause_and_a_remedy(self):
    self.assertGreater(len(_rows()), 50)
    for row in _rows():
      self.assertLen(row, 3, row)
      self.assertTrue(all(row), row)
      self.assertRegex(row[0], "`.+`")

  def test_every_message_on_the_page_is_in_the_code(self):
    code = _literals()
    unknown = [pattern for pattern in _patterns()
               if not any(pattern in text for text in code)]
    self.assertEmpty(unknown)

  def test_every_message_that_users_can_meet_is_on_the_page(self):
    raised, patterns = _raised(), _patterns()
    self.assertGreater(len(raised), 100)
    missing = [(file, text) for file, text in raised
               if not any(pattern in text for pattern in patterns)]
    self.assertEmpty(missing)


if __name__ == "__main__":
  absltest.main()
