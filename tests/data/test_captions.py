"""Captions of a source become token ids where examples are read."""

import dataclasses
import tempfile

import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ntm.config import BackboneConfig, TextConfig
from ntm.data import captions, pipeline, scenes
from ntm.data.words import Words
from tests.helpers import tiny

_BACKBONE = {"text_tokens": 16, "vocab_size": 64}


def _config(**changes):
  return tiny.config(**{
      "data__source": "scenes", "model__image_shape": (32, 32, 3), "model__patch_shape": (16, 16),
      "model__num_classes": 0, "model__backbone": _BACKBONE, "text__tokenizer": "scenes"} | changes)


class TokenisedTest(parameterized.TestCase):

  def test_examples_have_the_tokens_of_their_captions(self):
    source = captions.Tokenised(scenes.Scenes("test", with_captions=True), Words(16))
    example = source[7]
    self.assertEqual(sorted(example), ["ids", "image", "mask"])
    truth = scenes.Scenes("test")
    np.testing.assert_array_equal(example["image"], truth[7]["image"])
    np.testing.assert_array_equal(example["ids"], Words(16)([truth.scene(7).caption]).ids_BM[0])
    self.assertEqual(list(source.captions(range(2))), [truth.scene(i).caption for i in range(2)])
    (captioned,) = source.captioned([7])
    self.assertEqual(captioned["caption"], truth.scene(7).caption)
    np.testing.assert_array_equal(captioned["image"], example["image"])
    self.assertEqual((len(source), source.record()), (len(truth), truth.record()))

  def test_a_share_of_the_texts_is_dropped_the_same_in_every_run(self):
    config = _config(train__label_dropout=0.5, train__batch_size=64)
    batches = [next(pipeline.training_data(config)[0]) for _ in range(2)]
    np.testing.assert_array_equal(batches[0]["ids"], batches[1]["ids"])
    dropped = batches[0]["mask"].sum(axis=1) == 1
    self.assertBetween(dropped.mean(), 0.3, 0.7)
    np.testing.assert_array_equal(batches[0]["ids"][dropped],
                                  Words(16).unconditional().ids_BM.repeat(dropped.sum(), axis=0))

  def test_held_out_texts_are_whole_and_have_their_captions(self):
    iterator, held_out = pipeline.training_data(_config(train__label_dropout=0.5))
    np.testing.assert_array_equal(held_out[0]["ids"], Words(16)(iterator.captions[:8]).ids_BM)

  @parameterized.parameters(
      ({"model__backbone": {"text_tokens": 16, "vocab_size": 9}},
       "'scenes' has 54 token ids, but config.model.backbone.vocab_size is 9; set it to at least"),
      ({"data__source": "digits", "model__image_shape": (8, 8, 1), "model__patch_shape": (2, 2)},
       "config.data.source is 'digits', whose examples have no captions for text.tokenizer"),
      ({"data__source": "arrays"}, "config.data.source is 'arrays', whose examples have no capt"),
      ({"data__source": "tests.helpers.tiny:config"}, "tiny:config', whose examples have no capt"))
  def test_data_that_do_not_fit_are_named(self, changes, message):
    with self.assertRaisesRegex(ValueError, message):
      pipeline.training_data(_config(**changes))

  def test_a_tokenizer_of_transformers(self):
    tiny_tokenizer = pytest.importorskip("tests.helpers.tiny_tokenizer")
    directory = tempfile.mkdtemp()
    tiny_tokenizer.save(directory)
    backbone = BackboneConfig(text_tokens=40, vocab_size=tiny_tokenizer.VOCAB_SIZE)
    plain = captions.tokenizer(TextConfig(directory), backbone)(["a red circle"])
    chat = captions.tokenizer(TextConfig(directory, "klein"), backbone)(["a red circle"])
    self.assertEqual((plain.ids_BM.shape, chat.ids_BM.shape), ((1, 40), (1, 40)))
    self.assertGreater(chat.mask_BM.sum(), plain.mask_BM.sum())
    with self.assertRaisesRegex(ValueError, "token ids, but config.model.backbone.vocab_size is 2"):
      captions.tokenizer(TextConfig(directory), dataclasses.replace(backbone, vocab_size=200))


if __name__ == "__main__":
  absltest.main()
