"""A tokenizer of a few known words: those of the built-in captions."""

import hashlib
import re
from collections.abc import Sequence

import numpy as np

from ntm.data import prompts as prompts_lib
from ntm.data.prompts import PromptError, Tokens
from ntm.data.scene_captions import vocabulary

_START = 1  # Of every text, so that the empty one has a token; 0 is padding.


class Words:
  """Captions → Tokens, an id per word; without regard to case, full stops and spaces.

  Attributes:
    vocab_size: ids are below it.
  """

  def __init__(self, length: int):
    """Texts are padded to `length` tokens, the start among them."""
    self.length, self.vocab_size = length, len(vocabulary()) + 2
    self._ids = {word: i for i, word in enumerate(vocabulary(), start=2)}

  def __call__(self, prompts: Sequence[str]) -> Tokens:
    """The tokens of prompts.

    Raises:
      ValueError: as `ntm.data.prompts.Tokenizer`.
      PromptError: words that are in no caption, or a prompt that is too long.
    """
    prompts_lib.check(prompts)
    return self._tokenise(prompts)

  def unconditional(self) -> Tokens:
    """The tokens of the empty prompt, one row."""
    return self._tokenise([""])

  def checksum(self) -> str:
    """SHA-256 of its words in the order of their ids, as `ntm.data.prompts.Tokenizer` has one."""
    return hashlib.sha256(" ".join(self._ids).encode()).hexdigest()

  def _tokenise(self, prompts):
    ids_BM = np.zeros((len(prompts), self.length), np.int32)
    for index, (row_M, prompt) in enumerate(zip(ids_BM, prompts)):
      words = re.findall(r"[^\s,]+|,", prompt.lower().replace(".", " "))
      if unknown := list(dict.fromkeys(word for word in words if word not in self._ids)):
        raise PromptError(f"the prompt {str(prompt)!r} has the word{'s' * (len(unknown) > 1)} "
                          f"{', '.join(map(repr, unknown))}; expected words of the built-in "
                          f"captions: {' '.join(vocabulary()[1:])}", index)
      if len(words) + 1 > self.length:
        raise PromptError(f"the prompt {str(prompt)!r} has {len(words)} words; expected at most "
                          f"{self.length - 1}: shorten it.", index)
      row_M[:len(words) + 1] = [_START, *(self._ids[word] for word in words)]
    return Tokens(ids_BM, ids_BM != 0, np.zeros(len(prompts), bool))
