"""Mutation testing: which small changes of the code does no test notice?

  python tests/tools/mutate.py --sample=100 --seed=0 process flows models inference evaluation
  python tests/tools/mutate.py process/kernel.py:47

A target is a path under ntm/: a package, a file, or one line of it. The mutants are those of
cosmic-ray (`pip install cosmic-ray`), one at a time in a copy of the tree; annotations, raise
statements and decorators are left alone. Each mutant meets the tests of its file, then, if it
survives, those that use the file. It is killed once a test fails, or takes far more CPU time
than without it. One process imports JAX and forks per test file; cosmic-ray starts Python anew.
"""

import argparse
import ast
import collections
import dataclasses
import multiprocessing
import os
import pathlib
import random
import re
import resource
import runpy
import shutil
import sys
import tempfile
import time

import pytest
from cosmic_ray import ast as cosmic_ast
from cosmic_ray import mutating, plugins

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_OPERATORS = re.compile(
    r"core/(AddNot|NumberReplacer|Replace(AndWithOr|OrWithAnd|TrueWithFalse|FalseWithTrue)"
    r"|ReplaceBinaryOperator_(Add|Sub|Mul|Div)_(Add|Sub|Mul|Div)"
    r"|ReplaceBinaryOperator_(Pow_Mul|FloorDiv_Mul|Mod_Mul|BitAnd_BitOr|BitOr_BitAnd|BitXor_BitOr)"
    r"|ReplaceComparisonOperator_(Lt|LtE|Gt|GtE|Eq|NotEq)_(Lt|LtE|Gt|GtE|Eq|NotEq)"
    r"|ReplaceComparisonOperator_(Is_IsNot|IsNot_Is)"
    r"|ReplaceUnaryOperator_(Delete_Not|USub_UAdd|Invert_UAdd))")
_HEAVY = ("jax", "flax.linen", "optax", "orbax.checkpoint", "chex", "grain", "ml_collections",
          "scipy.stats", "sklearn.neural_network", "sklearn.metrics", "torch")
# Of every package below ntm.training.
_WIDER = ("tests/models/test_ntm.py", "tests/losses/test_trajectory_likelihood.py",
          "tests/api/test_*.py")

_glob = lambda pattern: sorted(str(path.relative_to(_ROOT)) for path in _ROOT.glob(pattern))


@dataclasses.dataclass(frozen=True)
class Mutant:
  """One change: a file, where in it, cosmic-ray's operator and which occurrence of it."""

  path: str
  line: int
  column: int
  operator: str
  occurrence: int

  def apply(self, source: str) -> str:
    """The changed source."""
    return mutating.mutate_code(source, plugins.get_operator(self.operator)(), self.occurrence)

  def __str__(self):
    source = (_ROOT / self.path).read_text()
    pairs = zip(source.splitlines(), self.apply(source).splitlines())
    old, new = next(pair for pair in pairs if pair[0] != pair[1])
    return f"{self.path}:{self.line}  {old.strip()}  ->  {new.strip()}"


def mutants(target: str) -> list[Mutant]:
  """All mutants of a target."""
  name, _, line = target.partition(":")
  place, found = _ROOT / "ntm" / name, []
  for file in [place] if place.is_file() else sorted(place.rglob("*.py")):
    skipped = _skipped(ast.parse(file.read_text()))
    nodes = list(cosmic_ast.ast_nodes(cosmic_ast.get_ast(file.read_text())))
    for operator in filter(_OPERATORS.fullmatch, plugins.operator_names()):
      positions = plugins.get_operator(operator)().mutation_positions
      starts = [start for node in nodes for start, _ in positions(node)]
      found += [Mutant(str(file.relative_to(_ROOT)), *start, operator, occurrence)
                for occurrence, start in enumerate(starts)
                if not any(first <= start < last for first, last in skipped)]
  return [mutant for mutant in found if not line or mutant.line == int(line)]


def _skipped(tree: ast.AST) -> list:
  """Start and end, (line, column), of what no mutant touches."""
  skipped = [node for node in ast.walk(tree) if isinstance(node, ast.Raise)]
  for node in ast.walk(tree):
    skipped += getattr(node, "decorator_list", [])
    skipped += filter(None, (getattr(node, "annotation", None), getattr(node, "returns", None)))
  return [((a.lineno, a.col_offset), (a.end_lineno, a.end_col_offset)) for a in skipped]


def sample(targets: list[str], number: int, seed: int) -> dict[str, list[Mutant]]:
  """About `number` mutants shared by size, at least 15 of each target; 0 takes all.

  Drawn are places first, then one mutant of each: one that can change in many ways counts once.
  """
  rng, places = random.Random(seed), {}
  for target in targets:
    places[target] = collections.defaultdict(list)
    for mutant in mutants(target):
      places[target][mutant.path, mutant.line, mutant.column].append(mutant)
  if not number:
    return {target: sum(of.values(), []) for target, of in places.items()}
  total = sum(map(len, places.values()))
  share = lambda of: min(len(of), max(15, round(number * len(of) / total)))
  return {target: [rng.choice(of[place]) for place in sorted(rng.sample(sorted(of), share(of)))]
          for target, of in places.items()}


def tests_of(path: str) -> tuple[list[str], list[str]]:
  """(a file's own tests, others that may notice a change of it)."""
  parts = pathlib.PurePath(path).with_suffix("").parts
  package, name = ".".join(parts[:-1]), parts[-1]
  imports = re.compile(rf"from {package} import .*\b{name}\b|\b{package}\.{name}\b")
  every = _glob("tests/**/test_*.py")
  users = [test for test in every if imports.search((_ROOT / test).read_text())]
  neighbours = _glob(f"tests/{parts[1]}/test_*.py") if parts[1] != "training" else []
  own = _glob(f"tests/{parts[1]}/test_{name}.py") or users or neighbours
  rest = dict.fromkeys([*users, *neighbours, *(test for glob in _WIDER for test in _glob(glob))])
  return own, [test for test in rest if test not in own]


class Runner:
  """Runs tests on a copy of the tree, in processes forked from this one."""

  def __init__(self, folder: str):
    # Before JAX is imported: the settings of the tests, and the compilation cache they share.
    runpy.run_path(str(_ROOT / "tests/conftest.py"))
    for name in _HEAVY:
      __import__(name)
    self._copy = pathlib.Path(folder) / "ntm"
    shutil.copytree(_ROOT, self._copy, ignore=shutil.ignore_patterns(
        ".*", "__pycache__", "build", "runs", "*.egg-info"))
    os.chdir(self._copy)
    os.environ["PYTHONPATH"] = sys.path[0] = str(self._copy)
    sys.dont_write_bytecode = True  # A stale file would hide the next mutant.
    self._seconds = {}

  def verdict(self, mutant: Mutant, tests: list[str]) -> str:
    """'killed', 'timed out' or 'survived'."""
    file = self._copy / mutant.path
    source = file.read_text()
    for test in tests:
      if test not in self._seconds:
        start = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        if _failed(test, 3600):
          raise SystemExit(f"{test} fails without a mutant; make it pass first.")
        self._seconds[test] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - start
      file.write_text(mutant.apply(source))
      code = _failed(test, round(3 * self._seconds[test] + 60))
      file.write_text(source)
      if code:
        return "timed out" if code < 0 else "killed"
    return "survived"


def _failed(test: str, limit: int) -> int:
  """0 if a test file passes, else pytest's exit code; negative past `limit` seconds of CPU time."""
  process = multiprocessing.get_context("fork").Process(target=_pytest, args=(test, limit))
  process.start()
  process.join()
  return process.exitcode


def _pytest(test, limit):
  resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
  for stream in (1, 2):
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
  os._exit(pytest.main(["-x", "-n0", "-q", "-p", "no:cacheprovider", test]))


def main():
  """Prints one line per mutant, then a table of the targets."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--sample", type=int, default=0, help="Mutants to draw; 0 tries all.")
  parser.add_argument("--seed", type=int, default=0, help="Random seed of the sample.")
  parser.add_argument("targets", nargs="+", help="Paths under ntm/: a package, FILE or FILE:LINE.")
  args = parser.parse_args()
  chosen = sample(args.targets, args.sample, args.seed)
  left = {target: list(some) for target, some in chosen.items()}
  with tempfile.TemporaryDirectory() as folder:
    runner = Runner(folder)
    for stage in (0, 1):
      print(("Each file's own tests", "\nOther tests, of what is left")[stage], flush=True)
      for mutant in sum(left.values(), []):
        start, verdict = time.monotonic(), runner.verdict(mutant, tests_of(mutant.path)[stage])
        print(f"{verdict:9} {time.monotonic() - start:4.0f} s  {mutant}", flush=True)
        if verdict != "survived":
          next(some for some in left.values() if mutant in some).remove(mutant)
  print("\n| target | mutants | killed | survived |\n|---|---|---|---|")
  for target, some in chosen.items():
    print(f"| {target} | {len(some)} | {len(some) - len(left[target])} | {len(left[target])} |")


if __name__ == "__main__":
  main()
