"""The frozen text encoder of a run: token ids to the features that the model reads.

The features of a token are the hidden states `config.text.hidden_states` side by side, see
`ntm.published.qwen.model`. Layers after the last of them are left out.
"""

import dataclasses

import jax.numpy as jnp

from ntm.config import Config, TextConfig
from ntm.conversion import record
from ntm.nn import rounds
from ntm.nn.numerics import Numerics
from ntm.published.qwen import mapping
from ntm.published.qwen import model as qwen
from ntm.typing import Array, PRNGKey

FAMILIES = ("qwen3", "qwen2_5_vl")
_TOKENS = 2**13  # Per device at a time: 16 texts of 512 tokens.
# By width: where the weights are missing, the sizes are those published.
_PUBLISHED = {sizes.width: sizes for sizes in (qwen.QWEN3_4B, qwen.QWEN3_8B, qwen.QWEN2_5_VL_7B)}


@dataclasses.dataclass(frozen=True)
class PromptEncoder:
  """Pure functions of a text encoder's parameters.

  Attributes:
    module: the encoder, up to the last hidden state that is read.
  """

  module: qwen.Qwen

  def init(self, rng: PRNGKey):
    """Parameters of random values, boxed with their logical axes."""
    return self.module.init(rng, jnp.zeros((1, 1), jnp.int32))["params"]

  def init_all_layers(self, rng: PRNGKey):
    """As `init`, of all layers: the parameters of a converted directory."""
    whole = self.module.clone(hidden_states=(self.module.config.layers,))
    return whole.init(rng, jnp.zeros((1, 1), jnp.int32))["params"]

  def of_all_layers(self, params):
    """The parameters that are read, among those of a converted directory."""
    return qwen.first_layers(params, self.module.config, self.module.hidden_states)

  def features(self, params, ids_BM: Array, mask_BM: Array) -> Array:
    """Features [B, M, W] of texts in the type of the networks, padding included.

    Args:
      params: of the encoder.
      ids_BM: token ids.
      mask_BM: True for tokens, False for padding.
    """
    encode = lambda text: self.module.apply({"params": params}, *text)
    return rounds.in_rounds(encode, (ids_BM, mask_BM), _TOKENS // ids_BM.shape[1])


def encoder(config: Config) -> PromptEncoder | None:
  """The text encoder of a run; None without one. Its weights need not be there.

  Without a directory at `config.text.encoder` its sizes are those of the published encoder
  whose width fits the model, so that programs can be compiled.

  Raises:
    ValueError: another family, or features that are not those of the model.
  """
  text, backbone = config.text, config.model.backbone
  if not text.encoder:
    return None
  sizes = _sizes(text, backbone.text_width)
  if sizes.width * len(text.hidden_states) != backbone.text_width:
    raise ValueError(
        f"config.model.backbone.text_width is {backbone.text_width}, but "
        f"{len(text.hidden_states)} hidden states of the encoder in {text.encoder} have a width of "
        f"{sizes.width * len(text.hidden_states)}; set it to that, or change "
        "config.text.hidden_states.")
  if max(text.hidden_states) > sizes.layers:
    raise ValueError(f"config.text.hidden_states is {text.hidden_states}; expected numbers from 0 "
                     f"to {sizes.layers}, the layers of the encoder in {text.encoder}.")
  # As published: the types of parameters that are loaded are those of their file.
  types = Numerics(jnp.dtype(config.model.dtype), jnp.dtype("bfloat16"))
  return PromptEncoder(qwen.Qwen(sizes, text.hidden_states, types))


def vocab_size(text: TextConfig, text_width: int) -> int:
  """Token ids that the encoder of `text.encoder` knows; errors as `encoder`."""
  return _sizes(text, text_width).vocab_size


def _sizes(text: TextConfig, text_width: int) -> qwen.QwenConfig:
  try:
    made = record.read(text.encoder)
  except FileNotFoundError:
    width = text_width // len(text.hidden_states)
    if width not in _PUBLISHED:
      raise ValueError(
          f"config.text.encoder is {text.encoder}, which does not exist, and no published encoder "
          f"has hidden states of width {width}; expected the target of `ntm convert`.") from None
    return _PUBLISHED[width]
  if made["family"] not in FAMILIES:
    raise ValueError(f"config.text.encoder is {text.encoder}, which holds a model of the family "
                     f"{made['family']!r}; expected one of {', '.join(FAMILIES)}.")
  return mapping.config(made["architecture"])
