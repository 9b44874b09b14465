"""Readers of GenEval's and DPG-Bench's result files."""

import json
import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from ntm.evaluation import official_results


def _file(text):
  path = pathlib.Path(tempfile.mkdtemp()) / "result"
  path.write_text(text)
  return path


def _picture(tag, prompt, right):
  return json.dumps({"filename": f"{prompt}/samples/0000.png", "tag": tag, "prompt": prompt,
                     "correct": right, "reason": "", "metadata": json.dumps({"prompt": prompt}),
                     "details": "{}"}) + "\n"


class GenEvalTest(parameterized.TestCase):

  def test_the_score_is_the_mean_over_tasks(self):
    found = official_results.geneval(_file(
        "".join(_picture("counting", "a", right) for right in (True, False, False, False))
        + "".join(_picture("colors", prompt, True) for prompt in "bc")))
    self.assertEqual(found["tasks"], {"counting": 0.25, "colors": 1.0})
    self.assertEqual((found["geneval"], found["pictures"], found["prompts"]), (0.625, 6, 3))
    np.testing.assert_allclose(found["standard_error"], np.sqrt(0.25 * 0.75 / 4) / 2)

  @parameterized.parameters(
      ("", "is empty"), ("[1]\n", "line 1 of .* is not a picture of GenEval"),
      (_picture("colors", "a", True) + "{}\n", "line 2 of"))
  def test_other_files_are_refused(self, text, message):
    with self.assertRaisesRegex(ValueError, message):
      official_results.geneval(_file(text))

  def test_a_byte_order_mark_is_not_read(self):
    path = _file("")
    path.write_text(_picture("colors", "a", True), encoding="utf-8-sig")
    self.assertEqual(official_results.geneval(path)["geneval"], 1)

  def test_missing_file(self):
    with self.assertRaisesRegex(ValueError, "none.jsonl cannot be read"):
      official_results.geneval("none.jsonl")


class DpgTest(parameterized.TestCase):

  def test_the_score_is_the_mean_over_prompts(self):
    found = official_results.dpg(_file(
        "dpg/a, b.png, 1.0, 0.5, 1.0, 0.5, 0.75\ndpg/c.png, 0.0, 0.5, 0.5, 0.0, 0.25\n"
        "Model: dpg\nL1 category scores:\n\tentity: 12.5\nDPG-Bench score: 50.0\n"))
    self.assertEqual((found["dpg"], found["pictures"], found["prompts"]), (50.0, 8, 2))
    np.testing.assert_allclose(found["standard_error"], 25)

  @parameterized.parameters(
      ("dpg/a.png, yes, 0.5\n", "line 1 of .* is 'dpg/a.png, yes, 0.5'; expected a file"),
      ("nothing\n", "line 1 of .* is 'nothing'"),
      ("dpg/a.png, 0.5, 0.5\n", "has the scores of 1 prompts; expected those of 1065"))
  def test_other_files_are_refused(self, text, message):
    with self.assertRaisesRegex(ValueError, message):
      official_results.dpg(_file(text))


if __name__ == "__main__":
  absltest.main()
