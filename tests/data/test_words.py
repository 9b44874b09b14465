"""Words of the built-in captions as token ids."""

import pickle

import numpy as np
from absl.testing import absltest, parameterized

from ntm.data import prompts, scenes
from ntm.data.scene_captions import vocabulary
from ntm.data.words import Words


class WordsTest(parameterized.TestCase):

  @parameterized.parameters(*scenes.SPLITS)
  def test_every_caption_can_be_written_and_read_back(self, split):
    words, source = Words(16), scenes.Scenes(split)
    captions = [source.scene(i).caption for i in range(600)]
    tokens = words(captions)
    self.assertEqual(tokens.ids_BM.dtype, np.int32)
    self.assertLess(tokens.ids_BM.max(), words.vocab_size)
    for caption, ids, mask in zip(captions, tokens.ids_BM, tokens.mask_BM):
      np.testing.assert_array_equal(mask, ids != 0)
      read = " ".join(vocabulary()[i - 2] for i in ids[mask][1:])
      self.assertEqual(read.replace(" ,", ","), caption)

  def test_every_word_occurs(self):
    tokens = Words(16)([scenes.Scenes("train").scene(i).caption for i in range(3000)])
    self.assertLen(np.unique(tokens.ids_BM), len(vocabulary()) + 2)

  def test_case_spaces_and_full_stops_do_not_matter(self):
    words = Words(8)
    np.testing.assert_array_equal(words(["A red  Ring."]).ids_BM, words(["a red ring"]).ids_BM)

  def test_the_empty_prompt_is_the_start_alone(self):
    empty = Words(4).unconditional()
    np.testing.assert_array_equal(empty.mask_BM, [[True, False, False, False]])

  @parameterized.parameters(
      ("a red dog", "has the word 'dog'; expected words of the built-in captions: a above"),
      ("a dog, a cat and a Dog", "has the words 'dog', 'cat'; expected words of the built-in"),
      ("a red ring and a circle", "has 6 words; expected at most 4: shorten it"),
      (" ", "prompt 0 is ' '; expected some text"),
      (3, "prompt 0 is 3, of type int; expected a string"))
  def test_mistakes_are_named(self, prompt, message):
    with self.assertRaisesRegex(ValueError, message):
      Words(5)([prompt])

  @parameterized.parameters("a red dog", "a red ring and a circle")
  def test_an_error_has_the_place_of_its_prompt(self, prompt):
    with self.assertRaises(prompts.PromptError) as raised:
      Words(5)(["a red ring", prompt, "a dog"])
    self.assertEqual(raised.exception.index, 1)
    copy = pickle.loads(pickle.dumps(raised.exception))  # As between processes that read data.
    self.assertEqual((str(copy), copy.index), (str(raised.exception), 1))


if __name__ == "__main__":
  absltest.main()
