"""ntm table: the paper's tables and ours."""

import contextlib
import io
import json
import pathlib
import shutil
import tempfile
from unittest import mock

from absl.testing import absltest, flagsaver, parameterized

from ntm.ablations import rows, running
from ntm.commands import table
from tests.helpers import ablation_rows


def _table(*arguments):
  out = io.StringIO()
  saved = flagsaver.save_flag_values(table.FLAGS)
  with contextlib.redirect_stdout(out):
    table.run(["ntm table", *arguments])
  flagsaver.restore_flag_values(saved, table.FLAGS)
  return out.getvalue()


def _result(**values):
  path = pathlib.Path(tempfile.mkdtemp()) / "result.json"
  path.write_text(json.dumps(values))
  return str(path)


class TableTest(parameterized.TestCase):

  @parameterized.parameters("1", "2", "6")
  def test_what_was_not_measured_says_so(self, number):
    self.assertIn("not yet measured", _table(number))

  def test_number_may_be_a_flag(self):
    self.assertEqual(_table("3"), _table("--number=3"))

  def test_measured_rows_are_sorted_by_steps_and_say_what_they_are_of(self):
    inception = {"features": "inception", "workdir": "runs/a"}
    results = [_result(frechet_distance=3.456, num_steps=8, num_samples=50_000, **inception),
               _result(frechet_distance=4.5, num_steps=4, num_samples=10_000, **inception)]
    text = _table("6", f"--results={','.join(results)}", "--format=markdown")
    self.assertLess(text.index("| ntm, 10,000 samples | 4 | 4.50 |"),
                    text.index("| ntm, 50,000 samples | 8 | 3.46 |"))
    self.assertIn("num_samples 50000, features inception, workdir runs/a", text)
    self.assertNotIn("not yet measured", text)
    parsed = json.loads(_table("6", f"--results={','.join(results)}", "--format=json"))
    self.assertEqual([row["frechet_distance"] for row in parsed["measured"]], [4.5, 3.456])
    self.assertEqual(parsed["published"][0], {"model": "NTM", "evaluations": 4, "FID": 3.83})

  @parameterized.parameters(float("nan"), "low")
  def test_what_is_no_number_is_refused(self, value):
    path = _result(frechet_distance=value, num_steps=8, num_samples=10, features="inception")
    with self.assertRaisesRegex(ValueError, f"{path}, whose frechet_distance, .* no finite number"):
      table.imagenet([path])

  def test_scores_of_the_official_tools(self):
    folder = pathlib.Path(tempfile.mkdtemp())
    (folder / "geneval.jsonl").write_text('{"tag": "colors", "correct": true, "metadata": "{}"}\n')
    self.assertRegex(_table("1", f"--results={folder}/geneval.jsonl"),
                     r"ntm +1.00 +not yet measured")
    (folder / "dpg.txt").write_text("a.png, 0.5, 0.5\nb.png, 1.0, 1.0\n")
    text = _table("1", f"--results={folder}/dpg.txt,{folder}/geneval.jsonl")
    self.assertRegex(text, r"ntm +1.00 +75.00")
    self.assertIn("standard_error 25, pictures 2, prompts 2", text)
    self.assertIn("BLIP-2", text)

  def test_columns_of_text_are_aligned(self):
    title, _, head, *rows = _table("6").splitlines()
    self.assertIn("FID", title)
    for row in rows:
      self.assertEqual(row.find("  ", head.index("evaluations") - 2), head.index("evaluations") - 2)


class ReducedTest(absltest.TestCase):

  def _run(self, failed=(), *flags):
    """(output, recipes that were asked for) with two rows that are made in no time."""
    made = [ablation_rows.row("T1", "refined", seed, frechet_distance=7.0) for seed in (0, 1)]

    def run(recipes, results):
      self.recipes = recipes
      results.mkdir()
      for row in made:
        rows.append(results, row)
      return list(failed)

    with mock.patch.object(running, "run", run):
      return _table("--reduced", f"--results_dir={tempfile.mkdtemp()}/new", *flags)

  def test_prints_all_tables_and_verdicts(self):
    text = self._run()
    self.assertRegex(text, r"T = 1 +7.000 ± 0.000 \(2 seeds\)")
    self.assertRegex(text, "T = 1 fails.* the paper +undecided +not yet measured")
    self.assertEqual({recipe.seed for recipe in self.recipes}, {0, 1, 2})
    self.assertIn("| T = 1 | 7.000 ± 0.000 (2 seeds) |", self._run((), "--format=markdown"))
    cells = json.loads(self._run((), "--format=json"))["steps"]["lines"]["T = 1"]
    self.assertEqual(cells["frechet_distance"]["workdir"], ["runs/T1-0", "runs/T1-1"])

  def test_runs_what_is_asked_for(self):
    self._run((), "--only=grid,T1", "--seeds=4,2", "--quick")
    self.assertEqual([(recipe.experiment, recipe.seed) for recipe in self.recipes],
                     [("T1", 4), ("grid", 4), ("T1", 2), ("grid", 2)])
    self.assertTrue(all(recipe.quick for recipe in self.recipes))

  def test_writes_the_page(self):
    docs = pathlib.Path(tempfile.mkdtemp())
    shutil.copytree(pathlib.Path(table.__file__).parents[2] / "docs", docs, dirs_exist_ok=True)
    (docs / "measurements" / "ablations.jsonl").write_text("")
    self._run((), f"--docs={docs}")
    self.assertIn("| T = 1 | 7.000 ± 0.000 (2 seeds) |", (docs / "ablations.md").read_text())

  def test_failures_are_named_after_the_tables(self):
    out = io.StringIO()
    with (contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()) as stderr,
          flagsaver.flagsaver(), self.assertRaises(SystemExit)):
      self._run(["base-0: no space left"])
    self.assertIn("error: 1 runs failed; the same command tries them again.\nbase-0: no space",
                  stderr.getvalue())


if __name__ == "__main__":
  absltest.main()
