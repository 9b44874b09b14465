"""Folders of samples as GenEval and DPG-Bench read them."""

import json
import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

from ntm.evaluation import layouts
from ntm.evaluation.layouts import Item
from tests.helpers import processes, runs

_LINES = [{"tag": "single_object", "include": [{"class": "ring", "count": 1}], "prompt": "a ring"},
          {"tag": "counting", "include": [], "prompt": "two squares"}]


def _geneval_file(root):
  path = root / "evaluation_metadata.jsonl"
  path.write_text("".join(json.dumps(line) + "\n" for line in _LINES))
  return path


class LayoutsTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.root = pathlib.Path(tempfile.mkdtemp())
    self.images = np.linspace(-1.2, 1, 4 * 6 * 5 * 3).reshape(4, 6, 5, 3)
    self.pixels = (np.clip(self.images, -1, 1) * 127.5 + 127.5).round().astype(np.uint8)

  def test_geneval(self):
    items = layouts.read("geneval", str(_geneval_file(self.root)))
    self.assertEqual([item.name for item in items], ["00000", "00001"])
    self.assertFalse(layouts.is_done("geneval", self.root, items[1], 4))
    (self.root / "00001.partial").mkdir()  # Of an interrupted run.
    layouts.write("geneval", self.root, items[1], self.images)
    self.assertTrue(layouts.is_done("geneval", self.root, items[1], 4))
    self.assertFalse(layouts.is_done("geneval", self.root, items[1], 5))
    self.assertEqual(json.loads((self.root / "00001" / "metadata.jsonl").read_text()), _LINES[1])
    for i in range(4):
      np.testing.assert_array_equal(
          Image.open(self.root / "00001" / "samples" / f"{i:04}.png"), self.pixels[i])
    self.assertFalse((self.root / "00001.partial").exists())

  def test_dpg(self):
    (self.root / "b12.txt").write_text("two squares \n")
    (self.root / "a7.txt").write_text("a ring")
    items = layouts.read("dpg", str(self.root))
    self.assertEqual(items, [Item("a7", "a ring"), Item("b12", "two squares")])
    layouts.write("dpg", self.root, items[0], self.images)
    grid = np.asarray(Image.open(self.root / "a7.png"))
    np.testing.assert_array_equal(grid[:6, 5:], self.pixels[1])  # Row by row.
    np.testing.assert_array_equal(grid[6:, :5], self.pixels[2])
    self.assertEqual(grid.shape, (12, 10, 3))

  @parameterized.parameters(
      ("geneval", "a ring\n", "line 1 of .* is 'a ring'; expected a JSON object with a"),
      ("geneval", '{"tag": 1}\n', "line 1 of .*; expected a JSON object with a"),
      ("geneval", '{"prompt": " "}\n', "line 1 of .*: the prompt is blank"),
      ("geneval", '{"prompt": "a ring"}\n{"prompt": 3}\n', "line 2 of .* object with a .*string"),
      ("geneval", "[1]\n", "line 1 of .*; expected a JSON object with a"),
      ("geneval", "", "has no prompts; expected at least one"),
      ("geneval", None, "cannot be read .*; expected GenEval's"),
      ("dpg", "a ring", "is not a folder; expected DPG-Bench's folder"),
      ("dpg", None, "prompts does not exist; expected DPG-Bench's folder"))
  def test_other_files_are_refused(self, layout, text, message):
    path = self.root / "prompts"
    if text is not None:
      path.write_text(text)
    with self.assertRaisesRegex(ValueError, message):
      layouts.read(layout, str(path))

  def test_folders_without_prompts_that_can_be_read_are_refused(self):
    with self.assertRaisesRegex(ValueError, "has no ITEM.txt files; expected DPG-Bench's folder"):
      layouts.read("dpg", str(self.root))
    (self.root / "a.txt").write_bytes("a ring".encode("utf-16"))
    with self.assertRaisesRegex(ValueError, "a.txt cannot be read .*; expected a prompt of DPG"):
      layouts.read("dpg", str(self.root))

  def test_byte_order_marks_are_not_read(self):
    (self.root / "a.txt").write_text("a ring", encoding="utf-8-sig")
    self.assertEqual(layouts.read("dpg", str(self.root)), [Item("a", "a ring")])
    path = self.root / "a.jsonl"
    path.write_text(json.dumps(_LINES[0]), encoding="utf-8-sig")
    self.assertEqual(layouts.read("geneval", str(path)), [Item("00000", "a ring", _LINES[0])])

  @parameterized.parameters(
      ("geneval", "00001/samples/0002.png", None), ("geneval", "00001/samples/0000.png", b""),
      ("geneval", "00001/samples/0001.png", "flip"), ("geneval", "00001/metadata.jsonl", None),
      ("geneval", "00001/metadata.jsonl", b"{}\n"), ("dpg", "00001.png", b""),
      ("dpg", "00001.png", "flip"))
  def test_what_is_damaged_is_written_again(self, layout, name, content):
    item = layouts.read("geneval", str(_geneval_file(self.root)))[1]
    layouts.write(layout, self.root, item, self.images)
    path = self.root / name
    before = path.read_bytes()
    if content is None:
      path.unlink()
    else:  # In the middle of a picture's data.
      middle = len(before) // 2
      path.write_bytes(before[:middle] + bytes([before[middle] ^ 1]) + before[middle + 1:]
                       if content == "flip" else content)
    self.assertFalse(layouts.is_done(layout, self.root, item, 4))
    layouts.write(layout, self.root, item, self.images)
    self.assertTrue(layouts.is_done(layout, self.root, item, 4))
    self.assertEqual(path.read_bytes(), before)

  def test_blank_lines_at_the_end_are_no_prompts(self):
    path = _geneval_file(self.root)
    items = layouts.read("geneval", str(path))
    path.write_text(path.read_text() + "\n \n")
    self.assertEqual(layouts.read("geneval", str(path)), items)

  def test_the_place_of_a_prompt_is_that_in_its_file(self):
    path = str(_geneval_file(self.root))
    self.assertEqual(layouts.place("geneval", path, layouts.read("geneval", path)[1]),
                     f"line 2 of {path}")
    (self.root / "b12.txt").write_text("two squares")
    item, = layouts.read("dpg", str(self.root))
    self.assertEqual(layouts.place("dpg", str(self.root), item), str(self.root / "b12.txt"))

  @parameterized.parameters(
      ("dpg/", "dpg", "--output is .*dpg, the folder of --prompts_file; choose another"),
      ("run.json", "run", "would be written to .*run.json, the file of --prompts_file; choose"))
  def test_samples_are_kept_apart_from_the_prompts(self, prompts, output, message):
    (self.root / "dpg").mkdir()
    (self.root / "run.json").touch()
    layouts.check_apart(self.root / "other", str(self.root / prompts))
    with self.assertRaisesRegex(ValueError, message):
      layouts.check_apart(self.root / output, str(self.root / prompts))

  def test_nobody_is_told_to_remove_a_folder_of_other_files(self):
    (self.root / "notes.txt").touch()
    with self.assertRaisesRegex(ValueError, "is not empty, and .* choose another --output.$"):
      layouts.check_settings(self.root, {"seed": 0})

  def test_samples_of_other_settings_are_not_mixed(self):
    directory = self.root / "out"
    layouts.check_settings(directory, {"seed": 0})
    layouts.check_settings(directory, {"seed": 1})  # Nothing is there yet.
    (directory / "00000").mkdir()
    layouts.check_settings(directory, {"seed": 1})
    with self.assertRaisesRegex(ValueError, "has samples of seed 1, not 2; repeat the command"):
      layouts.check_settings(directory, {"seed": 2})

  def test_the_command_continues_with_the_same_pictures(self):
    runs.write(self.root / "run", runs.config(
        num_classes=0, backbone={"text_tokens": 8, "vocab_size": 54}, text={"tokenizer": "scenes"}))
    flags = [f"--workdir={self.root / 'run'}", "--layout=geneval", "--refine=none",
             f"--prompts_file={_geneval_file(self.root)}", f"--output={self.root / 'out'}"]
    processes.ntm("sample", *flags)
    files = sorted((self.root / "out").glob("*/samples/*.png"))
    self.assertLen(files, 8)
    before = {file: file.read_bytes() for file in files}
    self.assertGreater(len(set(before.values())), 4)
    (self.root / "out" / "00001").rename(self.root / "gone")
    processes.ntm("sample", *flags)
    self.assertEqual({file: file.read_bytes() for file in files}, before)
    record = json.loads((self.root / "out.json").read_text())
    for same in (["--steps=2"], [f"--workdir={self.root}/out/../run"]):
      self.assertEqual(runs.call("sample", *flags, *same)[0], 0)
    self.assertEqual(record["steps"], 2)
    other = self.root / "other.jsonl"
    other.write_text(_geneval_file(self.root).read_text().replace("ring", "circle"))
    for more, message in (
        (["--seed=1"], "has samples of seed 0, not 1;"),
        (["--prompts=a ring"], "--prompts does not apply: --layout=geneval"),
        ([f"--prompts_file={other}"], "has samples of other prompts; repeat the command"),
        (["--layout=dpg", "--num=2"], "--num is 2; expected 4 with --layout=dpg")):
      code, stderr = runs.call("sample", *flags, *more)
      self.assertEqual(code, 1)
      self.assertIn(message, stderr)


if __name__ == "__main__":
  absltest.main()
