"""Captions of examples as token ids: tokenised where examples are read, in Grain's threads."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from ntm.config import BackboneConfig, Config, TextConfig
from ntm.data import prompts
from ntm.data.prompts import Tokenizer, Tokens
from ntm.data.unreadable import Source, UnreadableError
from ntm.data.words import Words
from ntm.models import prompt_encoder

_TEMPLATES = {"plain": prompts.PLAIN, "klein": prompts.KLEIN}


@functools.cache
def tokenizer(text: TextConfig, backbone: BackboneConfig) -> Tokenizer | Words:
  """What turns captions into the token ids that a model reads.

  Args:
    text: names the tokenizer and the template.
    backbone: of the model, with the tokens of a text and the size of its vocabulary.

  Raises:
    ValueError: there is no such tokenizer, or it has more ids than the model or its encoder.
    ImportError: transformers is not installed.
  """
  if text.tokenizer == "scenes":
    found = Words(backbone.text_tokens)
  else:
    found = Tokenizer(text.tokenizer, dataclasses.replace(_TEMPLATES[text.template],
                                                          length=backbone.text_tokens))
  if text.encoder:
    known = prompt_encoder.vocab_size(text, backbone.text_width)
    if found.vocab_size > known:
      raise ValueError(f"the tokenizer {text.tokenizer!r} has {found.vocab_size} token ids, and "
                       f"the encoder in {text.encoder} knows {known}; expected the tokenizer that "
                       "was published with it.")
  elif found.vocab_size > backbone.vocab_size:
    raise ValueError(f"the tokenizer {text.tokenizer!r} has {found.vocab_size} token ids, but "
                     f"config.model.backbone.vocab_size is {backbone.vocab_size}; set it to at "
                     f"least {found.vocab_size}.")
  return found


class Tokenised:
  """A source whose captions are replaced by token ids.

  Examples have "ids" [M] int32 and "mask" [M] bool in place of "caption" and "label".

  Attributes:
    null_text: ids and mask of the empty text.
  """

  def __init__(self, source: Source, tokenizer: Tokenizer | Words):
    """Takes a source whose examples have a "caption"."""
    self._source, self._tokenizer = source, tokenizer
    empty = tokenizer.unconditional()
    self.null_text = {"ids": empty.ids_BM[0], "mask": empty.mask_BM[0]}

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    """One example; ValueError if its caption is missing, blank or cannot be tokenised."""
    example = dict(self._source[index])
    example.pop("label", None)
    tokens = self._tokenizer([example.pop("caption")])
    return example | {"ids": tokens.ids_BM[0], "mask": tokens.mask_BM[0]}

  @property
  def pairs(self) -> Callable:
    """`Shards.pairs`, tokenised; other sources have no such attribute."""
    pairs = self._source.pairs
    return lambda: Tokenised(pairs(), self._tokenizer)

  @property
  def autoencoder(self) -> dict[str, Any]:
    """`Shards.autoencoder`."""
    return self._source.autoencoder

  @property
  def names(self) -> tuple[str, ...]:
    """Of the examples, where they have names."""
    return getattr(self._source, "names", ())

  def captions(self, indices: Iterable[int]) -> Iterator[str]:
    """The captions of those of these examples that can be read, each read when it is asked for."""
    return (example["caption"] for example in self.captioned(indices))

  def captioned(self, indices: Iterable[int]) -> Iterator[dict[str, Any]]:
    """As `captions`, the examples with their "caption", as the source has them."""
    for index in indices:
      try:
        yield self._source[index]
      except UnreadableError:  # Held-out batches leave it out too.
        continue

  def record(self) -> list[str]:
    """The record of the source."""
    return self._source.record()


def conditions(config: Config, batch: dict[str, np.ndarray]):
  """What conditions the examples of a batch, as the methods of models take it for `labels`."""
  if config.text.tokenizer:
    return Tokens(batch["ids"], batch["mask"], np.zeros(len(batch["ids"]), bool))
  if config.model.backbone.text_tokens:
    return batch["text"]
  return batch["label"] if config.model.num_classes else None
