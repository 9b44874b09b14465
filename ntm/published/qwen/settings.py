"""Sizes of a Qwen model from the `config.json` of its checkpoint.

Field names are those of Hugging Face transformers: of files on the hub, which have `rope_theta`
and `rope_scaling`, and of those that transformers 5 writes, which have `rope_parameters`.
Qwen2.5-VL has the text fields at the top or in `text_config`.
"""

from collections.abc import Mapping
from typing import Any

_SIZES = {
    "vocab_size": "vocab_size", "hidden_size": "width", "num_hidden_layers": "layers",
    "num_attention_heads": "num_heads", "num_key_value_heads": "num_kv_heads",
    "intermediate_size": "mlp_width"}
_ROTARY = ("default", "mrope")  # With text alone the second is the first.


def read(values: Mapping[str, Any], model_type: str) -> dict[str, Any]:
  """The fields of `QwenConfig`.

  Args:
    values: of the config.json.
    model_type: 'qwen3' or 'qwen2_5_vl'.

  Raises:
    ValueError: another model type, sizes that are missing or not positive integers, or a
      setting that is not supported.
  """
  if values.get("model_type") != model_type:
    raise ValueError(f"its model_type is {values.get('model_type')!r}; expected {model_type!r}")
  text = values | _typed(values, "text_config", dict)
  rope = _typed(text, "rope_scaling", dict) | _typed(text, "rope_parameters", dict)
  found = {ours: _number(text, name, int) for name, ours in _SIZES.items()}
  qwen3 = model_type == "qwen3"
  if qwen3 or text.get("head_dim") is not None:
    head_width = _number(text, "head_dim", int)
  else:
    head_width = found["width"] // found["num_heads"]
  _check_supported(text, rope, found["layers"])
  return found | {
      "head_width": head_width, "qk_norm": qwen3, "qkv_bias": not qwen3,
      "theta": _number(text | rope, "rope_theta", float),
      "eps": _number(text, "rms_norm_eps", float)}


def _typed(values, name, kind):
  """A value of a type, empty if it is missing."""
  value = values.get(name)
  if value is not None and not isinstance(value, kind):
    expected = {dict: "an object", list: "a list"}[kind]
    raise ValueError(f"its {name} is {value!r}; expected {expected}")
  return value or kind()


def _number(values, name, kind):
  """A positive number."""
  value = values.get(name)
  allowed = int if kind is int else (int, float)
  if not isinstance(value, allowed) or isinstance(value, bool) or value <= 0:
    expected = "a positive integer" if kind is int else "a positive number"
    raise ValueError(f"its {name} is {value!r}; expected {expected}")
  return kind(value)


def _check_supported(text, rope, num_layers):
  rotary = rope.get("rope_type", rope.get("type", "default"))
  if rotary not in _ROTARY:
    raise ValueError(f"its rotary positions are of type {rotary!r}, which is not supported; "
                     f"expected one of {', '.join(_ROTARY)}")
  activation = text.get("hidden_act", "silu")
  if activation != "silu":
    raise ValueError(f"its hidden_act is {activation!r}, which is not supported; expected 'silu'")
  kinds = _typed(text, "layer_types", list)
  if not kinds and text.get("use_sliding_window"):
    # The layers from this one on.
    kinds = ["sliding_attention"] * (_number(text, "max_window_layers", int) < num_layers)
  if "sliding_attention" in kinds:
    raise ValueError("it has layers of sliding-window attention, which are not supported")
