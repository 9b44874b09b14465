"""Rows survive kills, and count only if they are of today's commands."""

import pathlib
import tempfile
from unittest import mock

from absl.testing import absltest

from ntm.ablations import recipes, rows
from tests.helpers import ablation_rows


class RowsTest(absltest.TestCase):

  def test_what_is_appended_is_read(self):
    folder = pathlib.Path(tempfile.mkdtemp())
    self.assertEqual(rows.read(folder), [])
    written = [ablation_rows.row("grid", "exact", seed, kl_to_truth_nats=0.5) for seed in (0, 1)]
    for row in written:
      rows.append(folder, row)
    self.assertEqual(rows.read(folder), written)

  def test_a_line_that_a_kill_cut_off_is_left_out_and_replaced(self):
    folder = pathlib.Path(tempfile.mkdtemp())
    first, second = (ablation_rows.row("grid", "exact", seed) for seed in (0, 1))
    rows.append(folder, first)
    path = folder / "results.jsonl"
    path.write_text(path.read_text() + '{"experiment": "gr')
    self.assertEqual(rows.read(folder), [first])
    rows.append(folder, second)
    self.assertEqual(rows.read(folder), [first, second])

  def test_another_damaged_line_is_named(self):
    folder = pathlib.Path(tempfile.mkdtemp())
    (folder / "results.jsonl").write_text('{"a": \n{}\n')
    with self.assertRaisesRegex(ValueError, "line 1 of .*results.jsonl is damaged"):
      rows.read(folder)

  def test_the_newest_row_of_todays_recipe_counts(self):
    old, new = (ablation_rows.row("base", "raw", frechet_distance=value) for value in (1.0, 2.0))
    quick = ablation_rows.row("base", "raw", quick=True, frechet_distance=3.0)
    gone = new | {"experiment": "of_yesterday"}
    key = ("base", 0, "raw")
    self.assertEqual(rows.valid([old, new, quick, gone]), {key: new})
    self.assertEqual(rows.valid([old, new, quick, gone], quick=True), {key: quick})
    with mock.patch.object(recipes, "NUM_SAMPLES", 3):
      self.assertEqual(rows.valid([old, new]), {})

  def test_a_row_has_the_figures_and_what_made_it(self):
    row = rows.made(recipes.Recipe("grid", 2, "exact"),
                    {"kl_to_truth_nats": 0.5, "kl_per_step": [0.1]}, {"workdir": "runs/grid-2"})
    self.assertEqual((row["experiment"], row["seed"], row["workdir"]), ("grid", 2, "runs/grid-2"))
    self.assertEqual(row["kl_to_truth_nats"], 0.5)
    self.assertNotIn("kl_per_step", row)


if __name__ == "__main__":
  absltest.main()
