"""Tiny Qwens of transformers with random parameters, and ours with the same ones."""

import functools
import json

import numpy as np
import pytest

from ntm.conversion import families
from ntm.published.qwen import mapping as qwen_mapping
from tests.helpers import in_memory

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

# Widths all different, and heads whose widths do not add up to that of the model.
_TEXT = dict(vocab_size=50, hidden_size=32, intermediate_size=40, num_hidden_layers=3,
             num_attention_heads=4, num_key_value_heads=2)
_QWEN3 = dict(head_dim=12, rope_parameters={"rope_type": "default", "rope_theta": 5e5})
# Rotary positions of three axes: pairs of a head of 8 channels, shared among them.
_VL = dict(rms_norm_eps=1e-5, rope_parameters={
    "rope_type": "default", "rope_theta": 2e4, "mrope_section": [1, 1, 2]})
_VISION = dict(depth=2, hidden_size=16, intermediate_size=24, num_heads=2, out_hidden_size=32)
FAMILIES = ("qwen3", "qwen2_5_vl")


def config(family, **changes):
  """The transformers config of a tiny model."""
  if family == "qwen3":
    return transformers.Qwen3Config(**{**_TEXT, **_QWEN3, **changes})
  return transformers.Qwen2_5_VLConfig(
      text_config={**_TEXT, **_VL, **changes}, vision_config=_VISION,
      image_token_id=47, video_token_id=48)


def language_model(family, **changes):
  """The PyTorch module with readout and vision tower, every entry random, gains around 1."""
  cls = (transformers.Qwen3ForCausalLM if family == "qwen3"
         else transformers.Qwen2_5_VLForConditionalGeneration)
  model = cls(config(family, **changes)).eval()
  rng = np.random.default_rng(5)
  with torch.no_grad():
    for name, parameter in model.named_parameters():
      noise = torch.from_numpy(rng.normal(size=parameter.shape)).float()
      parameter.copy_(1 + 0.3 * noise if "norm" in name else
                      0.3 * noise if parameter.ndim == 1 else noise / parameter.shape[-1] ** 0.5)
  return model


def architecture_of(family, shapes, theirs):
  """As `ntm convert` finds it, from shapes and a config of transformers."""
  found = families.get(family)
  return found.configure(found.recognise(shapes), json.loads(theirs.to_json_string()))


@functools.cache
def pair(family):
  """(PyTorch module, QwenConfig, parameters of all layers)."""
  theirs = language_model(family)
  state = in_memory.state_of(theirs)
  found = architecture_of(family, {name: a.shape for name, a in state.items()}, theirs.config)
  return (theirs, qwen_mapping.config(found),
          in_memory.read(families.get(family), found, state))
