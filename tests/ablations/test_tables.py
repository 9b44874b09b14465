"""Cells are means with errors over seeds, and say where they come from."""

import numpy as np
from absl.testing import absltest, parameterized

from ntm.ablations import tables
from ntm.ablations.studies import STUDIES
from tests.helpers import ablation_rows

_MODEL = ("base", "refined")


class TablesTest(parameterized.TestCase):

  @parameterized.parameters(
      ([], "not yet measured"), ([1.0], "1.000 (1 seed)"), ([1.0, 2.0], "1.500 ± 0.500 (2 seeds)"),
      ([1.0, 2.0, 3.0], "2.000 ± 0.577"), ([1.0, None, 1.0], "inf ± nan"))
  def test_a_cell_is_mean_and_standard_error(self, values, expected):
    rows = ablation_rows.measured("frechet_distance", base__refined=values)
    cell = tables.cell(rows, _MODEL, "frechet_distance")
    self.assertEqual(cell.text(".3f"), expected)
    self.assertEqual([row["seed"] for row in cell.rows], list(range(len(values))))

  @parameterized.parameters(*STUDIES)
  def test_a_study_has_a_line_per_model_and_a_column_per_metric(self, name):
    table = tables.study(name, {})
    self.assertLen(table.rows, len(STUDIES[name].lines))
    for row in table.rows:
      self.assertLen(row, len(table.columns))
      self.assertEqual(set(row[1:]), {"not yet measured"})

  def test_every_claim_has_a_verdict_and_a_reason(self):
    table = tables.verdicts({})
    self.assertLen(table.rows, sum(len(spec.claims) for spec in STUDIES.values()))
    for _, of, verdict, reason in table.rows:
      self.assertIn(of, ("the paper", "ours"))
      self.assertEqual((verdict, reason), ("undecided", "not yet measured"))
    rows = ablation_rows.measured("frechet_distance", base__refined=[1, 1.1, 1.2],
                                  T1__refined=[8, 8.1, 8.3])
    verdicts = {claim: verdict for claim, _, verdict, _ in tables.verdicts(rows).rows}
    self.assertEqual(verdicts["T = 1 fails: at least twice the distance of T = 4"], "confirmed")
    self.assertLen([verdict for verdict in verdicts.values() if verdict != "undecided"], 1)

  def test_what_made_a_figure_is_next_to_it(self):
    rows = ablation_rows.measured("frechet_distance", base__refined=[1.0, 2.0])
    lines = {line[0]: line[1:] for line in tables.provenance(rows).rows}
    self.assertEqual(lines["base, refined"], (
        "0, 1", "runs/base-0, runs/base-1", f"{'0' * 12}, {'1' * 12}", "2026-11-20, 2026-11-21",
        "2 CPUs, Linux x86_64, JAX 0.10.2"))
    self.assertEqual(lines["base, raw"][0], "not yet measured")
    found = tables.as_json(rows)["transporter"]
    cell = found["lines"]["four affine blocks"]["frechet_distance"]
    self.assertEqual((cell["mean"], cell["seed"]), (1.5, [0, 1]))
    np.testing.assert_allclose(cell["standard_error"], 0.5)
    self.assertEqual(cell["commands"], [["ntm train", "ntm evaluate refined"]] * 2)
    self.assertEqual(found["lines"]["four affine blocks"]["recall"], "not yet measured")
    self.assertEqual(found["claims"][0]["verdict"], "undecided")

  def test_markdown_has_a_line_per_row(self):
    text = tables.markdown(tables.study("mixture", {}))
    self.assertEqual([line.count("|") for line in text.splitlines()], [5] * 5)


if __name__ == "__main__":
  absltest.main()
