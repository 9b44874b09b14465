"""The prompts of the flags of `ntm sample`."""

import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized
from etils import epath

from ntm.commands import sampled_prompts
from ntm.data.words import Words
from tests.helpers import buckets, runs

_LINES = ["a red ring", "two blue squares"]


class SampledPromptsTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.path = pathlib.Path(tempfile.mkdtemp()) / "prompts.txt"

  @parameterized.product(encoding=["utf-8", "utf-8-sig"], newline=["\n", "\r\n"])
  def test_prompts_are_the_lines_of_a_file(self, encoding, newline):
    self.path.write_bytes(newline.join(_LINES).encode(encoding))
    self.assertEqual(sampled_prompts.read(None, str(self.path)), _LINES)
    self.assertEqual(sampled_prompts.read(_LINES, None), _LINES)

  def test_a_file_may_be_in_a_bucket(self):
    with buckets.in_memory():
      epath.Path("gs://bucket/prompts.txt").write_bytes("\n".join(_LINES).encode("utf-8-sig"))
      self.assertEqual(sampled_prompts.read(None, "gs://bucket/prompts.txt"), _LINES)

  @parameterized.parameters(
      (b"", "has no lines; expected one prompt per line"),
      (b"a ring\n \n", "has a blank line, 2; expected one prompt per line"),
      ("a ring".encode("utf-16"), "prompts.txt, which cannot be read"))
  def test_other_files_are_refused(self, content, message):
    self.path.write_bytes(content)
    with self.assertRaisesRegex(ValueError, message):
      sampled_prompts.read(None, str(self.path))

  @parameterized.parameters(
      (None, None, "expected one of --prompts=TEXT and --prompts_file=FILE"),
      (["a ring"], "file", "--prompts is 'a ring', and --prompts_file is file; leave one"),
      (["a ring", " "], None, "--prompts is ' '; expected some text"),
      (None, tempfile.gettempdir(), "--prompts_file is .*, which cannot be read"))
  def test_other_flags_are_refused(self, prompts, path, message):
    with self.assertRaisesRegex(ValueError, message):
      sampled_prompts.read(prompts, path)

  def test_a_refused_prompt_is_named_with_its_place(self):
    config = runs.config(num_classes=0, backbone={"text_tokens": 8, "vocab_size": 54},
                         text={"tokenizer": "scenes"})
    np.testing.assert_array_equal(sampled_prompts.tokens(config, _LINES).ids_BM,
                                  Words(8)(_LINES).ids_BM)
    prompts = [*_LINES, "a dog and a cat"]
    with self.assertRaisesRegex(ValueError, "^line 2 of it: the prompt .* the words 'dog', 'cat';"):
      sampled_prompts.tokens(config, prompts, lambda index: f"line {index} of it")
    with self.assertRaisesRegex(ValueError, "^the prompt 'a dog and a cat' has the words"):
      sampled_prompts.tokens(config, prompts)


if __name__ == "__main__":
  absltest.main()
