"""`ntm sample` as users run it."""

import pathlib
import tempfile
from unittest import mock

import jax
import numpy as np
import pytest
from absl.testing import absltest, parameterized
from PIL import Image

import ntm
from ntm.training import workdir as workdir_lib
from tests.helpers import processes, runs, tiny_autoencoder

_TEXT = {"num_classes": 0, "backbone": {"text_tokens": 8, "vocab_size": 54},
         "text": {"tokenizer": "scenes"}}


def _read(path):
  """The images of an .npz file, or of the PNG files in a folder, in order."""
  if path.suffix == ".npz":
    return np.load(path)["images"]
  return np.stack([np.asarray(Image.open(file), np.float32) for file in sorted(path.iterdir())])


class SampleTest(parameterized.TestCase):

  def test_rows_are_the_labels(self):
    workdir = pathlib.Path(tempfile.mkdtemp())
    runs.write(workdir, runs.config())
    processes.ntm("sample", f"--workdir={workdir}", "--labels=7,1", "--num=3", "--guidance=0.5",
                  "--output", workdir / "two.5")
    arrays = np.load(workdir / "two.5.npz")
    self.assertEqual(arrays["images"].shape, (6, 8, 8, 1))
    self.assertEqual(arrays["labels"].tolist(), [7, 7, 7, 1, 1, 1])
    self.assertEqual(Image.open(workdir / "two.5.png").size, (3 * 50, 2 * 50))

  def test_rows_are_the_prompts(self):
    workdir = pathlib.Path(tempfile.mkdtemp())
    runs.write(workdir, runs.config(**_TEXT))
    (workdir / "prompts.txt").write_text("a red ring\ntwo blue squares\n")
    processes.ntm("sample", f"--workdir={workdir}", f"--prompts_file={workdir / 'prompts.txt'}",
                  "--num=2", "--guidance=1", "--refine=none")
    arrays = np.load(workdir / "samples" / "sample.npz")
    self.assertEqual(arrays["prompts"].tolist(), ["a red ring"] * 2 + ["two blue squares"] * 2)
    self.assertEqual(Image.open(workdir / "samples" / "sample.png").mode, "RGB")
    model = ntm.restore(workdir)
    draw = lambda prompt: model.sample(jax.random.key(0), prompts=[prompt], guidance=1.0,
                                       refine="none")
    np.testing.assert_allclose(draw("two blue squares."), draw("Two blue squares"))
    self.assertGreater(np.abs(draw("two blue squares") - draw("a ring")).max(), 1e-3)
    score = lambda **how: model.log_prob(jax.random.key(1), np.zeros((2, 8, 8, 1)), **how).step_SB
    self.assertGreater(np.abs(score(labels=["a ring"] * 2) - score()).max(), 1e-4)

  def test_prompts_and_flags_are_refused_before_the_checkpoint_is_read(self):
    root = pathlib.Path(tempfile.mkdtemp())
    workdir_lib.prepare(root / "run", runs.config(**_TEXT))  # Without a checkpoint.
    (root / "blank.txt").write_text("a red ring\n\n")
    (root / "words.txt").write_text("a red ring\na dog\n")
    (root / "words.jsonl").write_text('{"prompt": "a red ring"}\n{"prompt": "a dog"}\n')
    (root / "dpg").mkdir()
    (root / "dpg" / "ITEM.txt").write_text("a cat")
    for flags, message in (
        (["--prompts_file={root}/blank.txt"], "has a blank line, 2; expected one prompt"),
        (["--prompts_file={root}/none.txt"], "none.txt, which cannot be read"),
        (["--prompts_file={root}"], "which cannot be read"),
        (["--prompts_file={root}/words.txt"],
         "line 2 of {root}/words.txt: the prompt 'a dog' has the word 'dog'; expected words"),
        (["--prompts=a ring", "--prompts_file={root}/blank.txt"],
         "--prompts is 'a ring', and --prompts_file is"),
        (["--prompts=a red dog"], "error: the prompt 'a red dog' has the word 'dog'"),
        (["--labels=1"], "--labels does not apply"),
        (["--solver=heun"], "--solver does not apply"),
        ([], "expected one of --prompts=TEXT and --prompts_file=FILE"),
        (["--layout=geneval", "--output={root}/out", "--prompts_file={root}/words.jsonl"],
         "line 2 of {root}/words.jsonl: the prompt 'a dog' has the word 'dog'"),
        (["--layout=dpg", "--output={root}/out", "--prompts_file={root}/dpg"],
         "{root}/dpg/ITEM.txt: the prompt 'a cat' has the word 'cat'"),
        (["--layout=dpg", "--output={root}/run/../dpg", "--prompts_file={root}/dpg/"],
         "dpg, the folder of --prompts_file; choose another --output"),
        (["--prompts=a ring"], "has no checkpoint yet")):
      code, stderr = runs.call("sample", f"--workdir={root / 'run'}",
                               *(flag.format(root=root) for flag in flags))
      self.assertEqual(code, 1)
      self.assertIn(message.format(root=root), stderr)
    self.assertFalse((root / "out").exists())

  def test_latents_are_decoded_to_a_picture(self):
    workdir = pathlib.Path(tempfile.mkdtemp()) / "run"
    runs.write(workdir, tiny_autoencoder.config("kl", model__kind="flow_matching"))
    code, stderr = runs.call("sample", f"--workdir={workdir}", "--labels=2,0", "--num=3",
                             "--steps=2")
    self.assertEqual(code, 0, stderr)
    images = np.load(workdir / "samples" / "sample.npz")["images"]
    self.assertEqual(images.shape, (6, 8, 8, 3))
    self.assertLessEqual(np.abs(images).max(), 1)
    self.assertEqual(Image.open(workdir / "samples" / "sample.png").size, (3 * 50, 2 * 50))

  @parameterized.parameters(
      ({}, ["--labels=7,1", "--num=3", "--guidance=1"], "out.npz"),
      (_TEXT, ["--layout=dpg", "--prompts_file={root}/prompts", "--refine=none"], "out"))
  @pytest.mark.slow
  def test_two_processes_draw_the_pictures_of_one(self, changes, flags, name):
    root = pathlib.Path(tempfile.mkdtemp())
    runs.write(root / "run", runs.config(**changes))
    (root / "prompts").mkdir()
    for i, text in enumerate(("a red ring", "two blue squares")):
      (root / "prompts" / f"{i}.txt").write_text(text)
    flags = [f"--workdir={root / 'run'}", *(flag.format(root=root) for flag in flags)]
    one, two = root / "one" / "out", root / "two" / "out"
    one.parent.mkdir()
    code, stderr = runs.call("sample", *flags, f"--output={one}")
    self.assertEqual(code, 0, stderr)
    output = processes.launched("sample", *flags, f"--output={two}", "--mesh=2,1,1")
    self.assertEqual(output.count("wrote"), 1)  # By the first process alone.
    ours, theirs = (_read(path.with_name(name)) for path in (two, one))
    self.assertEqual(ours.shape, theirs.shape)
    np.testing.assert_allclose(ours, theirs, atol=1e-4 if not changes else 1)  # Levels of PNG.

  def test_several_processes_need_a_mesh(self):
    workdir = pathlib.Path(tempfile.mkdtemp())
    with mock.patch.object(jax, "process_count", lambda: 2):
      code, stderr = runs.call("sample", f"--workdir={workdir}")
    self.assertEqual(code, 1)
    self.assertIn("error: --mesh is missing, and 2 processes sample on one mesh", stderr)

  def test_samples_that_are_not_finite_are_not_written(self):
    workdir = processes.diverged()
    code, stderr = runs.call("sample", f"--workdir={workdir}", "--labels=7,1", "--num=3")
    self.assertEqual(code, 1)
    self.assertRegex(stderr, "(?m)^error: 6 of 6 images hold NaN or infinite numbers and are not")
    self.assertFalse((workdir / "samples").exists())


if __name__ == "__main__":
  absltest.main()
