"""The section of texts, with what it must satisfy."""

import dataclasses
from typing import Literal

from ntm.config.checking import require, unread


@dataclasses.dataclass(frozen=True)
class TextConfig:
  """How captions become tokens, for models that read them (`model.backbone.text_tokens`).

  Attributes:
    tokenizer: 'scenes', the words of the built-in captions; or a folder with the files of a
      tokenizer, or its name on the Hugging Face hub; '' for text features made ahead.
    template: text around every caption, see `ntm.data.prompts`: 'plain' for none, or 'klein'.
    encoder: workdir of a text encoder converted by `ntm convert`, frozen, which turns the tokens
      into features within the update; '' for none.
    hidden_states: of the encoder, which ones are the features, such as (9, 18, 27).
    lengths: ascending numbers of tokens up to `model.backbone.text_tokens`, such as
      (64, 128, 256); an update pads the texts of a batch to the shortest that holds them, and
      padding is not attended to. () pads to `text_tokens`, and of an encoder's features those of
      padding are attended to.
  """

  tokenizer: str = ""
  template: Literal["plain", "klein"] = "plain"
  encoder: str = ""
  hidden_states: tuple[int, ...] = ()
  lengths: tuple[int, ...] = ()


def check_text(config) -> None:
  """Raises ValueError unless the TextConfig of a Config fits its model and data."""
  text, backbone = config.text, config.model.backbone
  if not text.tokenizer:
    unread(text, "text", "a text.tokenizer", template="plain", encoder="", lengths=())
    unread(text, "text", "a text.encoder", hidden_states=())
    require(not backbone.vocab_size, "model.backbone.vocab_size", backbone.vocab_size,
            "0 without a text.tokenizer, whose token ids the model would embed")
    return
  if text.lengths:
    _check_lengths(text, backbone)
  if text.encoder:
    _check_encoder(text, backbone)
    return
  unread(text, "text", "a text.encoder", hidden_states=())
  require(backbone.vocab_size, "text.tokenizer", text.tokenizer,
          "'' unless model.backbone.vocab_size says how many token ids the model embeds, or "
          "text.encoder is set")
  require(text.tokenizer != "scenes" or text.template == "plain", "text.template", text.template,
          "'plain' with text.tokenizer = 'scenes', which knows the words of its captions alone")


def _check_lengths(text, backbone):
  lengths = text.lengths
  require(lengths[0] >= 1 and lengths[-1] == backbone.text_tokens
          and all(a < b for a, b in zip(lengths, lengths[1:])), "text.lengths", lengths,
          f"ascending numbers of tokens, the last one model.backbone.text_tokens = "
          f"{backbone.text_tokens}")
  require(backbone.kind == "dit" and text.template == "plain", "text.lengths", lengths,
          "() unless model.backbone.kind is 'dit' and text.template 'plain': the others attend to "
          "padding, and were trained with all of it")


def _check_encoder(text, backbone):
  require(text.tokenizer != "scenes", "text.tokenizer", text.tokenizer,
          "the tokenizer of the text.encoder, whose token ids it has learned")
  require(not backbone.vocab_size, "model.backbone.vocab_size", backbone.vocab_size,
          "0 with a text.encoder, which embeds the token ids")
  require(text.hidden_states and min(text.hidden_states) >= 0, "text.hidden_states",
          text.hidden_states, "numbers of hidden states of the text.encoder, from 0 on, such as "
          "(9, 18, 27)")
  for key, what in (("text_tokens", "the tokens of a text"), ("text_width", "their width")):
    require(getattr(backbone, key) >= 1, f"model.backbone.{key}", getattr(backbone, key),
            f"{what}, 1 or more, of the features that the text.encoder gives")
