"""ntm table: the paper's tables and ours."""

import contextlib
import io
import json
import pathlib
import tempfile

from absl.testing import absltest, flagsaver, parameterized

from ntm.commands import table


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
    results = [_result(fid=3.456, num_steps=8, num_samples=50_000, workdir="runs/a"),
               _result(fid=4.5, num_steps=4, num_samples=10_000, workdir="runs/a")]
    text = _table("6", f"--results={','.join(results)}", "--format=markdown")
    self.assertLess(text.index("| ntm | 4 | 4.50 |"), text.index("| ntm | 8 | 3.46 |"))
    self.assertIn("ntm, 8 evaluations: num_samples 50000, workdir runs/a", text)
    self.assertNotIn("not yet measured", text)
    parsed = json.loads(_table("6", f"--results={','.join(results)}", "--format=json"))
    self.assertEqual([row["fid"] for row in parsed["measured"]], [4.5, 3.456])
    self.assertEqual(parsed["published"][0], {"model": "NTM", "evaluations": 4, "FID": 3.83})

  def test_columns_of_text_are_aligned(self):
    title, _, head, *rows = _table("6").splitlines()
    self.assertIn("FID", title)
    for row in rows:
      self.assertEqual(row.find("  ", head.index("evaluations") - 2), head.index("evaluations") - 2)


if __name__ == "__main__":
  absltest.main()
