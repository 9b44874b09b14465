"""The page is that of its rows."""

import pathlib
import shutil
import tempfile

from absl.testing import absltest

from ntm.ablations import pages
from ntm.ablations.studies import STUDIES
from tests.helpers import ablation_rows

_DOCS = pathlib.Path(__file__).parents[2] / "docs"


class PagesTest(absltest.TestCase):

  def _docs(self, *rows):
    docs = pathlib.Path(tempfile.mkdtemp())
    (docs / "measurements").mkdir()
    shutil.copy(_DOCS / "ablations.md", docs)
    (docs / "measurements" / "ablations.jsonl").touch()
    pages.write(docs, list(rows))
    return docs

  def test_tables_are_replaced_and_those_that_differ_are_named(self):
    blocks = {"a": lambda: "new\n", "b": lambda: "same\n"}
    text = "x\n<!-- table: a -->\nold\n<!-- -->\ny <!-- table: b -->\nsame\n<!-- -->\n"
    right, different = pages.rewritten(text, blocks)
    self.assertEqual(right, text.replace("old", "new"))
    self.assertEqual(different, {"a": "new\n"})
    self.assertEqual(pages.rewritten(right, blocks), (right, {}))
    with self.assertRaisesRegex(ValueError, "a page has the table 'a'; expected one of b"):
      pages.rewritten(text, {"b": blocks["b"]})

  def test_the_page_shows_all_studies(self):
    text = (_DOCS / "ablations.md").read_text()
    for name in (*STUDIES, "claims", "runs", "picture"):
      self.assertIn(f"<!-- table: ablation_{name} -->", text)

  def test_without_rows_nothing_is_measured(self):
    docs = self._docs()
    self.assertNotRegex((docs / "ablations.md").read_text(), r"\d ± \d|confirmed \||refuted \|")
    self.assertTrue(pages.picture_is_current(docs))

  def test_rows_are_added_replaced_and_drawn(self):
    docs = self._docs(ablation_rows.row("T1", "refined", 0, frechet_distance=7.125))
    page = docs / "ablations.md"
    self.assertIn("| T = 1 | 7.125 (1 seed) |", page.read_text())
    self.assertIn("](images/ablations.png)", page.read_text())
    self.assertTrue(pages.picture_is_current(docs))
    pages.write(docs, [ablation_rows.row("T1", "refined", 0, frechet_distance=6.0),
                       ablation_rows.row("T1", "refined", 1, frechet_distance=8.0)])
    self.assertIn("| T = 1 | 7.000 ± 1.000 (2 seeds) |", page.read_text())
    self.assertLen(pages.recorded(docs), 2)
    self.assertTrue(pages.picture_is_current(docs))
    before = page.read_text()
    pages.write(docs, [])
    self.assertEqual(page.read_text(), before)

  def test_quick_rows_stay_out(self):
    docs = self._docs(ablation_rows.row("T1", "refined", 0, quick=True, frechet_distance=7.125))
    self.assertEmpty(pages.recorded(docs))
    self.assertNotIn("7.125", (docs / "ablations.md").read_text())

  def test_a_picture_of_other_rows_is_noticed_and_one_of_none_is_removed(self):
    docs = self._docs(ablation_rows.row("T1", "refined", 0, frechet_distance=7.125))
    rows = docs / "measurements" / "ablations.jsonl"
    rows.write_text(rows.read_text().replace("7.125", "7.25"))
    self.assertFalse(pages.picture_is_current(docs))
    rows.write_text("")
    self.assertFalse(pages.picture_is_current(docs))
    pages.write(docs, [])
    self.assertTrue(pages.picture_is_current(docs))

  def test_another_folder_is_refused(self):
    folder = pathlib.Path(tempfile.mkdtemp())
    with self.assertRaisesRegex(ValueError, "which has no ablations.md; expected the folder docs"):
      pages.check(folder)
    pages.check(_DOCS)


if __name__ == "__main__":
  absltest.main()
