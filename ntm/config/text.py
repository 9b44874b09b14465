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
  """

  tokenizer: str = ""
  template: Literal["plain", "klein"] = "plain"


def check_text(config) -> None:
  """Raises ValueError unless the TextConfig of a Config fits its model and data."""
  text, backbone = config.text, config.model.backbone
  if not text.tokenizer:
    unread(text, "text", "a text.tokenizer", template="plain")
    require(not backbone.vocab_size, "model.backbone.vocab_size", backbone.vocab_size,
            "0 without a text.tokenizer, whose token ids the model would embed")
    return
  require(backbone.vocab_size, "text.tokenizer", text.tokenizer,
          "'' unless model.backbone.vocab_size says how many token ids the model embeds")
  require(text.tokenizer != "scenes" or text.template == "plain", "text.template", text.template,
          "'plain' with text.tokenizer = 'scenes', which knows the words of its captions alone")
