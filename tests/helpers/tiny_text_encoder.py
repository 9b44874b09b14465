"""Runs that read the features of a tiny Qwen3 with its tokenizer, converted as users do."""

import functools
import pathlib
import tempfile

import jax
import numpy as np

from ntm import config as config_lib
from ntm.conversion import converter, families
from ntm.losses import inputs
from tests.helpers import qwen_pair, tiny, tiny_tokenizer

_TOKENS, _STATES, _WIDTH = 12, (1, 2), 32


@functools.cache
def directories() -> tuple[pathlib.Path, pathlib.Path]:
  """(converted encoder of random weights, folder of its tokenizer); do not write into them."""
  root = pathlib.Path(tempfile.mkdtemp())
  qwen_pair.language_model("qwen3", vocab_size=tiny_tokenizer.VOCAB_SIZE).save_pretrained(
      root / "source")
  converter.convert(families.get("qwen3"), root / "source", root / "qwen3")
  tiny_tokenizer.save(root / "tokenizer")
  return root / "qwen3", root / "tokenizer"


def config(**changes) -> config_lib.Config:
  """A tiny NTM conditioned on prompts."""
  encoder, tokenizer = directories()
  return tiny.config(**{
      "model__num_classes": 0, "model__backbone__text_tokens": _TOKENS,
      "model__backbone__text_width": _WIDTH * len(_STATES), "text__tokenizer": str(tokenizer),
      "text__encoder": str(encoder), "text__hidden_states": _STATES} | changes)


@functools.cache
def frozen() -> inputs.Frozen:
  """Its frozen networks."""
  return jax.device_put(inputs.load(config()))


def batch(size: int, seed: int = 0) -> dict[str, np.ndarray]:
  """Random images and token ids, of texts of different lengths."""
  rng = np.random.default_rng(seed)
  return {"image": rng.uniform(-1, 1, (size, 4, 4, 1)).astype(np.float32),
          "ids": rng.integers(0, 300, (size, _TOKENS)).astype(np.int32),
          "mask": np.arange(_TOKENS) < rng.integers(1, _TOKENS, (size, 1))}
