"""What the pages name exists: files, modules, functions and links."""

import ast
import importlib
import pathlib
import re
import tomllib

from absl.testing import absltest, parameterized

_ROOT = pathlib.Path(__file__).parents[1]
_PAGES = [_ROOT / "README.md", _ROOT / "CONTRIBUTING.md", _ROOT / "launch" / "README.md",
          *sorted((_ROOT / "docs").glob("*.md"))]
_NO_FILES = {"configs/flowers.py", "configs/MINE.py", "ntm/x/y.py", "tests/x/test_y.py"}
_FOLDERS = ("ntm", "configs", "launch", "tests", "docs", "benchmarks")


def _names(path) -> set[str]:
  """Functions, classes, their methods and constants of a file, methods as Class.method."""
  found = set()
  for node in ast.parse(path.read_text()).body:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
      found.add(node.name)
    if isinstance(node, ast.ClassDef):
      found |= {f"{node.name}.{inner.name}" for inner in node.body
                if isinstance(inner, ast.FunctionDef)}
    if isinstance(node, ast.Assign):
      found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
  return found


class DocsTest(parameterized.TestCase):

  @parameterized.parameters(*_PAGES)
  def test_files_exist(self, page):
    folders = "|".join(_FOLDERS)
    for name in re.findall(rf"(?<![\w/.-])((?:{folders})/[\w/.-]*\w\.\w+)", page.read_text()):
      if name not in _NO_FILES:
        self.assertTrue((_ROOT / name).exists(), f"{page.name} names {name}")

  @parameterized.parameters(*_PAGES)
  def test_functions_are_in_their_files(self, page):
    for file, names in re.findall(r"`(ntm/[\w/]+\.py)`: ((?:`[\w.]+`(?:, )?)+)", page.read_text()):
      for name in re.findall(r"`([\w.]+)`", names):
        self.assertIn(name, _names(_ROOT / file), f"{page.name}: {file}")

  @parameterized.parameters(*_PAGES)
  def test_dotted_names_can_be_imported(self, page):
    for name in set(re.findall(r"(?<![\w./])ntm(?:\.(?!py\b|log\b)\w+)+", page.read_text())):
      module, rest = name, []
      while True:
        try:
          found = importlib.import_module(module)
          break
        except ModuleNotFoundError:
          module, _, last = module.rpartition(".")
          self.assertTrue(module, f"{page.name} names {name}")
          rest.insert(0, last)
      for part in rest:
        self.assertTrue(hasattr(found, part), f"{page.name} names {name}")
        found = getattr(found, part)

  @parameterized.parameters(*_PAGES)
  def test_links_lead_somewhere(self, page):
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[\w-]*)?\)", page.read_text()):
      if "://" not in link:
        self.assertTrue((page.parent / link).exists(), f"{page.name} links to {link}")

  def test_the_list_of_packages_is_the_import_contract(self):
    contracts = tomllib.loads((_ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = [name.removeprefix("ntm.") for name in contracts["contracts"][0]["layers"]]
    page = (_ROOT / "docs" / "architecture.md").read_text()
    listed = re.findall(r"^\| \[?`(\w+)(?:/|\.py)`", page, re.M)
    self.assertEqual(listed, layers[::-1])
    packages = {path.stem for path in (_ROOT / "ntm").iterdir()
                if path.is_dir() or path.suffix == ".py"} - {"__init__", "__pycache__"}
    self.assertEqual(set(listed), packages)


if __name__ == "__main__":
  absltest.main()
