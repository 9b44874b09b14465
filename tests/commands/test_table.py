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


if __name__ == "__main__":
  absltest.main()
