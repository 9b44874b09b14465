import contextlib
import logging
import pathlib
import pickle
import re
import sys
import tempfile
from unittest import mock

import jax
import numpy as np
from absl.testing import absltest, parameterized
from diffusers import Flux2KleinPipeline

from ntm.conversion import converter, families
from ntm.data import prompts, text_features
from ntm.published.flux2 import model as flux2
from ntm.published.qwen import mapping as qwen_mapping
from ntm.published.qwen import model as qwen
from tests.helpers import parity, qwen_pair, tiny_tokenizer

torch = qwen_pair.torch

_DOCS = pathlib.Path(__file__).parents[2] / "docs" / "text_to_image.md"
_PROMPTS = ["a red circle above a blue square", "  two {prompt}s,\nand ünïcödé 🟦 ",
            "<|im_end|> in a prompt", "very long " * 400]


class PromptsTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.directory = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))

  def _pipeline(self, tokenizer):
    """FLUX.2's own, with a tiny random Qwen3 and nothing else."""
    encoder = qwen_pair.language_model("qwen3", vocab_size=tiny_tokenizer.VOCAB_SIZE,
                                       num_hidden_layers=4)
    encoder.save_pretrained(self.directory / "encoder")
    return Flux2KleinPipeline(scheduler=None, vae=None, text_encoder=encoder, tokenizer=tokenizer,
                              transformer=None)

  @parameterized.parameters("right", "left")
  def test_klein_equals_the_pipeline_of_diffusers(self, side):
    theirs = tiny_tokenizer.save(self.directory / "tokenizer", side)
    pipeline, seen = self._pipeline(theirs), {}
    pipeline.text_encoder.register_forward_pre_hook(
        lambda module, args, kwargs: seen.update(kwargs), with_kwargs=True)
    converter.convert(families.get("qwen3"), self.directory / "encoder", self.directory / "ours")
    _, architecture, params = converter.load(self.directory / "ours")
    config, places = qwen_mapping.config(architecture), (1, 2, 3)
    model, first = qwen.Qwen(config, places), qwen.first_layers(params, config, places)
    encode = jax.jit(lambda tokens: model.apply({"params": first}, *tokens))
    tokenizer = prompts.Tokenizer(self.directory / "tokenizer", prompts.KLEIN)
    for texts, tokens in ((_PROMPTS, tokenizer(_PROMPTS)), ([""], tokenizer.unconditional())):
      with torch.no_grad():
        expected, positions = pipeline.encode_prompt(
            texts, device="cpu", text_encoder_out_layers=places)
      np.testing.assert_array_equal(tokens.ids_BM, seen["input_ids"].numpy())
      np.testing.assert_array_equal(tokens.mask_BM, seen["attention_mask"].numpy())
      self.assertEqual(tokens.ids_BM.shape, (len(texts), 512))
      for ids in positions.numpy():
        np.testing.assert_array_equal(flux2.text_ids(512), ids)
      ours = encode((tokens.ids_BM, tokens.mask_BM))
      parity.assert_close(f"klein's encode_prompt, padding {side}", ours, expected, 1e-5)

  def test_the_documented_program_writes_the_features_that_sampling_reads(self):
    (text,) = [block for block in re.findall(r"```python\n(.*?)```", _DOCS.read_text(), re.DOTALL)
               if "KLEIN" in block]
    tiny_tokenizer.save(self.directory / "FLUX.2-klein-base-4B" / "tokenizer")
    encoder = qwen_pair.language_model("qwen3", vocab_size=tiny_tokenizer.VOCAB_SIZE,
                                       num_hidden_layers=28)
    encoder.save_pretrained(self.directory / "encoder")
    self.enterContext(contextlib.chdir(self.directory))
    converter.convert(families.get("qwen3"), "encoder", "runs/qwen3_4b")
    exec(compile(text, "text_to_image.md", "exec"), {"__name__": "documented"})
    rows, null = text_features.read("text.npz", with_null=True)
    self.assertEqual((rows.shape, null.shape, rows.dtype), ((2, 512, 96), (512, 96), np.float32))
    self.assertTrue(np.isfinite(rows).all() and np.ptp(rows[0] - null) > 0.1)

  def test_the_template_is_one_user_turn_with_an_empty_thought(self):
    self.assertEqual(prompts.KLEIN.fill("a {prompt}"),
                     "<|im_start|>user\na {prompt}<|im_end|>\n<|im_start|>assistant\n<think>\n\n"
                     "</think>\n\n")

  @parameterized.parameters(("no place", 8, "0 times"), ("{prompt} {prompt}", 8, "2 times"),
                            ("{prompt}", 0, "length is 0"))
  def test_templates_that_are_refused(self, text, length, message):
    with self.assertRaisesRegex(ValueError, message):
      prompts.Template(text, length)

  def test_texts_that_are_cut_are_counted(self):
    tiny_tokenizer.save(self.directory)
    tokenizer = prompts.Tokenizer(self.directory, prompts.Template("{prompt}", 4))
    exact = "\x01\x02\x03\x04"  # Bytes without merges are one token each.
    with self.assertLogs("ntm", logging.WARNING) as logs:
      tokens = tokenizer([exact, exact + "\x05", "\x01"])
    self.assertEqual(tokens.truncated_B.tolist(), [False, True, False])
    self.assertEqual(tokens.mask_BM.sum(axis=1).tolist(), [4, 4, 1])
    np.testing.assert_array_equal(tokens.ids_BM[0], tokens.ids_BM[1])
    self.assertRegex(logs.output[0], "1 of 3 prompts have more than 4 tokens")
    with self.assertNoLogs("ntm", logging.WARNING):
      tokenizer([exact])

  def test_a_pickled_tokenizer_gives_the_same_tokens(self):
    tiny_tokenizer.save(self.directory)
    tokenizer = prompts.Tokenizer(self.directory, prompts.KLEIN)
    copy = pickle.loads(pickle.dumps(tokenizer))
    np.testing.assert_array_equal(copy(_PROMPTS[:2]).ids_BM, tokenizer(_PROMPTS[:2]).ids_BM)

  @parameterized.parameters(
      ("a string", "prompts is the string 'a string'; expected a list"),
      ([], "prompts is empty"),
      (["a", 3], "prompt 1 is 3, of type int"),
      ([None], "prompt 0 is None, of type NoneType"),
      (["a", " \n"], r"prompt 1 is ' \\n'; expected some text"))
  def test_prompts_that_are_refused(self, texts, message):
    tiny_tokenizer.save(self.directory)
    with self.assertRaisesRegex(ValueError, message):
      prompts.Tokenizer(self.directory, prompts.KLEIN)(texts)

  def test_a_folder_without_a_tokenizer(self):
    with self.assertRaisesRegex(ValueError, "^[^\n]*holds no tokenizer that can be read[^\n]*$"):
      prompts.Tokenizer(self.directory, prompts.KLEIN)
    tiny_tokenizer.save(self.directory)
    (self.directory / "tokenizer.json").write_text("{")
    with self.assertRaisesRegex(ValueError, "^[^\n]*holds no tokenizer that can be read[^\n]*$"):
      prompts.Tokenizer(self.directory, prompts.KLEIN)

  @parameterized.parameters("./tokenizer", "/nowhere/tokenizer", "~/tokenizer", "name/",
                            "model/text/tokenizer", "here/tokenizer", pathlib.Path("tokenizer"))
  def test_a_folder_that_does_not_exist_is_not_asked_of_the_hub(self, source):
    self.enterContext(contextlib.chdir(self.directory))
    (self.directory / "here").mkdir()
    self.assertFalse(prompts.could_be_hub_name(source))
    import transformers
    with mock.patch.object(transformers.AutoTokenizer, "from_pretrained") as load:
      with self.assertRaisesRegex(ValueError, f"the folder '{source}' does not exist; expected"):
        prompts.Tokenizer(source, prompts.KLEIN)
    load.assert_not_called()

  @parameterized.parameters("Qwen/Qwen3-4B", "gpt2")
  def test_a_name_is_asked_of_the_hub(self, name):
    self.enterContext(contextlib.chdir(self.directory))
    import transformers
    with mock.patch.object(transformers.AutoTokenizer, "from_pretrained",
                           side_effect=OSError("no network")) as load:
      with self.assertRaisesRegex(ValueError, "holds no tokenizer that can be read .no network"):
        prompts.Tokenizer(name, prompts.KLEIN)
    load.assert_called_once_with(name)

  def test_ids_beyond_the_table_of_an_encoder_are_refused(self):
    tiny_tokenizer.save(self.directory)
    tokens = prompts.Tokenizer(self.directory, prompts.KLEIN)(["a circle"])
    highest = int(tokens.ids_BM.max())
    tokens.check_vocabulary(highest + 1)
    with self.assertRaisesRegex(ValueError, f"token id {highest} is out of range; the encoder has "
                                f"{highest} ids, 0 to {highest - 1}"):
      tokens.check_vocabulary(highest)
    negative = prompts.Tokens(-tokens.ids_BM - 1, tokens.mask_BM, tokens.truncated_B)
    with self.assertRaisesRegex(ValueError, "token id -[0-9]+ is out of range"):
      negative.check_vocabulary(10 ** 6)

  def test_the_folder_of_an_encoder_is_no_tokenizer(self):
    import transformers
    config = transformers.Qwen3Config(
        vocab_size=32, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=1, num_key_value_heads=1, head_dim=8)
    transformers.Qwen3Model(config).save_pretrained(self.directory)
    with self.assertRaisesRegex(ValueError, "gives no tokens for text"):
      prompts.Tokenizer(self.directory, prompts.KLEIN)
    with self.assertRaisesRegex(ValueError, "template is 'KLEIN'; expected a Template"):
      prompts.Tokenizer(self.directory, "KLEIN")

  def test_a_tokenizer_without_padding(self):
    tiny_tokenizer.save(self.directory, pad_token=None)
    with self.assertRaisesRegex(ValueError, "has no padding token"):
      prompts.Tokenizer(self.directory, prompts.KLEIN)

  def test_the_extra_is_named(self):
    with mock.patch.dict(sys.modules, {"transformers": None}):
      with self.assertRaisesRegex(ImportError, r"pip install 'ntm\[text\]'"):
        prompts.Tokenizer(self.directory, prompts.KLEIN)


if __name__ == "__main__":
  absltest.main()
