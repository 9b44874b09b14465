"""Prompts to token ids: a template is data, a tokenizer is a folder or a name on the hub.

The text around a prompt and the length that it is padded to belong to the encoder's training:
other ones give features that the image model never saw.
"""

import dataclasses
import hashlib
import json
import logging
import os
import pathlib
import textwrap
from collections.abc import Sequence

import numpy as np

_LOG = logging.getLogger("ntm")
_PLACE = "{prompt}"
# Texts whose ids show in which order a tokenizer joins pieces of words.
_PROBES = ("The quick brown fox jumps over the lazy dog, 0123456789 times.",
           "Zwölf große Äpfel; niño; 猫と犬; don't & re-read \"it\"!")


@dataclasses.dataclass(frozen=True)
class Template:
  """The text around a prompt.

  Attributes:
    text: contains `{prompt}` once.
    length: tokens that every text is padded to and cut at.

  Raises:
    ValueError: a text without the place of the prompt, or with several; no length.
  """

  text: str
  length: int

  def __post_init__(self):
    if self.text.count(_PLACE) != 1:
      raise ValueError(f"the template {self.text!r} contains {_PLACE} "
                       f"{self.text.count(_PLACE)} times; expected once.")
    if self.length < 1:
      raise ValueError(f"the template's length is {self.length}; expected at least 1 token.")

  def fill(self, prompt: str) -> str:
    """The text with the prompt in its place, as it is: nothing is stripped or escaped."""
    return self.text.replace(_PLACE, prompt)


PLAIN = Template("{prompt}", length=256)  # The words alone.
# One user turn and an empty thought, as FLUX.2 [klein] gives it to Qwen3.
KLEIN = Template("<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
                 "<think>\n\n</think>\n\n", length=512)


@dataclasses.dataclass(frozen=True)
class Tokens:
  """Texts as an encoder takes them.

  Attributes:
    ids_BM: token ids, int32.
    mask_BM: True for tokens, False for padding.
    truncated_B: True where a text was cut.
  """

  ids_BM: np.ndarray
  mask_BM: np.ndarray
  truncated_B: np.ndarray

  def rows(self, indices: Sequence[int]) -> "Tokens":
    """Those of the texts at these indices."""
    return Tokens(self.ids_BM[indices], self.mask_BM[indices], self.truncated_B[indices])

  def check_vocabulary(self, vocab_size: int) -> None:
    """Raises ValueError if an id has no row in an encoder's table of `vocab_size` rows.

    To be called before the encoder, which under jit would read another row in silence.
    """
    wrong = self.ids_BM[(self.ids_BM < 0) | (self.ids_BM >= vocab_size)]
    if wrong.size:
      raise ValueError(f"token id {wrong[0]} is out of range; the encoder has {vocab_size} ids, 0 "
                       f"to {vocab_size - 1}. Use the encoder's own tokenizer.")


class PromptError(ValueError):
  """A prompt that cannot be tokenised.

  Attributes:
    index: of the prompt among those of the call.
  """

  def __init__(self, message: str, index: int = 0):
    super().__init__(message)
    self.index = index


class Tokenizer:
  """Prompts → Tokens, by a tokenizer of Hugging Face transformers and a template.

  Padding and cutting are on the sides that the tokenizer's files say.

  Attributes:
    vocab_size: ids are below it.
  """

  def __init__(self, source: str | os.PathLike, template: Template):
    """Loads the tokenizer.

    Args:
      source: a folder with the tokenizer's files, or a name on the hub.
      template: of the image model.

    Raises:
      ImportError: transformers is not installed.
      ValueError: there is no tokenizer, or it has no padding token, or `template` is another type.
    """
    if not isinstance(template, Template):
      raise ValueError(f"template is {template!r}; expected a Template such as KLEIN.")
    try:
      import transformers
    except ImportError as error:
      raise ImportError(
          "prompts are tokenised by transformers: pip install 'ntm[text]'") from error
    _check_path(source)
    try:
      self._tokenizer = transformers.AutoTokenizer.from_pretrained(os.fspath(source))
    except Exception as error:  # Of many types, by what is missing.
      raise ValueError(f"{os.fspath(source)!r} holds no tokenizer that can be read "
                       f"({str(error).strip().partition(chr(10))[0]}); expected a folder with "
                       "tokenizer.json and tokenizer_config.json, or a name on the hub.") from error
    if self._tokenizer.pad_token_id is None:
      raise ValueError(f"the tokenizer {os.fspath(source)!r} has no padding token; set pad_token "
                       "in its tokenizer_config.json.")
    self._template, self.vocab_size = template, len(self._tokenizer)
    if not self._tokenise(["a"]).mask_BM.any():
      # What transformers makes of a folder with a model and no tokenizer.
      raise ValueError(f"the tokenizer {os.fspath(source)!r} gives no tokens for text; expected a "
                       "folder with tokenizer.json, next to the encoder's folder rather than it.")

  def __call__(self, prompts: Sequence[str]) -> Tokens:
    """The tokens of prompts in the template; warns once per call if any text is cut.

    Raises:
      ValueError: no prompts, one string in place of several, a prompt that is not a string, or
        one that is empty or blank; `unconditional` gives the empty one.
    """
    check(prompts)
    tokens = self._tokenise(prompts)
    if tokens.truncated_B.any():
      first = prompts[int(tokens.truncated_B.argmax())]
      _LOG.warning("%d of %d prompts have more than %d tokens%s and are cut, the first: %s",
                   tokens.truncated_B.sum(), len(prompts), self._template.length,
                   "" if self._template.text == _PLACE else " with the template",
                   textwrap.shorten(first, 80, placeholder=" ..."))
    return tokens

  def unconditional(self) -> Tokens:
    """The empty prompt in the template, one row: what guidance contrasts with."""
    return self._tokenise([""])

  def checksum(self) -> str:
    """SHA-256 of its words and ids, of how it pads and cuts, and of what it makes of texts."""
    found = self._tokenizer
    does = [sorted(found.get_vocab().items()), found.pad_token_id, found.padding_side,
            found.truncation_side, [found(text)["input_ids"] for text in _PROBES]]
    return hashlib.sha256(json.dumps(does).encode()).hexdigest()

  def _tokenise(self, prompts):
    texts, length = [self._template.fill(prompt) for prompt in prompts], self._template.length
    found = self._tokenizer(texts, padding="max_length", truncation=True, max_length=length,
                            return_tensors="np")
    mask_BM = found["attention_mask"] != 0
    full_B = mask_BM.all(axis=1)
    truncated_B = np.array([full and len(self._tokenizer(text)["input_ids"]) > length
                            for full, text in zip(full_B, texts)])
    return Tokens(found["input_ids"].astype(np.int32), mask_BM, truncated_B)


def _check_path(source) -> None:
  """Raises ValueError for a folder that does not exist, which no name on the hub can be.

  The hub would be asked for it, many times over on a machine without a network.
  """
  if not pathlib.Path(source).exists() and not could_be_hub_name(source):
    raise ValueError(f"the folder {os.fspath(source)!r} does not exist; expected a folder with "
                     "tokenizer.json and tokenizer_config.json, or a name on the hub whose first "
                     "part is not a folder here.")


def could_be_hub_name(source: str | os.PathLike) -> bool:
  """Whether this can be a name on the hub, rather than only the path of a folder."""
  path = pathlib.Path(source)
  return (isinstance(source, str) and len(path.parts) <= 2 and not path.is_absolute()
          and not source.startswith((".", "~")) and not source.endswith("/")
          and not (len(path.parts) == 2 and path.parent.is_dir()))


def check(prompts: Sequence[str]) -> None:
  """Raises ValueError unless these are strings with some text, at least one of them."""
  if isinstance(prompts, str):
    raise ValueError(f"prompts is the string {prompts!r}; expected a list of strings.")
  if not len(prompts):
    raise ValueError("prompts is empty; expected at least one string.")
  for i, prompt in enumerate(prompts):
    if not isinstance(prompt, str):
      raise ValueError(f"prompt {i} is {prompt!r}, of type {type(prompt).__name__}; expected a "
                       "string.")
    if not prompt.strip():
      raise ValueError(f"prompt {i} is {str(prompt)!r}; expected some text. "
                       "Tokenizer.unconditional gives the tokens of the empty prompt.")
