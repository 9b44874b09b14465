"""What the pages name exists: files, modules, functions and links."""

import ast
import importlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import tomllib

import pytest
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
  def test_what_the_code_imports_exists(self, page):
    for module, names in re.findall(r"^from (ntm[\w.]*) import ([\w, ]+)$", page.read_text(), re.M):
      source = _ROOT.joinpath(*module.split(".")).with_suffix(".py")
      for name in names.split(", ") if source.exists() else ():
        self.assertIn(name, _names(source), f"{page.name}: {module}")  # Not only imported there.

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


@pytest.mark.slow
class ExamplesTest(absltest.TestCase):
  """The examples of docs/evaluation.md, as a reader copies them."""

  def _run(self, name):
    """The folder that they ran in."""
    page = (_ROOT / "docs" / "evaluation.md").read_text()
    (lines,) = re.findall(rf"<!-- example: {name} -->\n```sh\n(.*?)```", page, re.S)
    folder = pathlib.Path(tempfile.mkdtemp())
    (folder / "configs").symlink_to(_ROOT / "configs")
    path = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "XLA_FLAGS": ""}
    done = subprocess.run(["bash", "-euc", lines], cwd=folder, env=environment,
                          capture_output=True, text=True)
    self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
    return folder / "runs"

  def test_a_model_of_a_known_density_is_nearer_to_it_than_gaussian_steps(self):
    result = json.loads((self._run("known") / "known.json").read_text())
    self.assertLess(result["kl_to_truth_nats"], result["gaussian_kl_nats"] / 2)

  def test_samples_that_were_kept_are_measured_again_to_the_same_figures(self):
    runs = self._run("kept")
    first, again = (json.loads((runs / f"{name}.json").read_text()) for name in ("kept", "again"))
    self.assertEqual(first["frechet_distance"], again["frechet_distance"])
    self.assertIn("nll_nats_per_dim", first)
    self.assertNotIn("nll_nats_per_dim", again)
    self.assertTrue((runs / "adm.npz").exists())


if __name__ == "__main__":
  absltest.main()
