"""Qwen3 and Qwen2.5-VL checkpoints in the layout of Hugging Face transformers.

The number of heads, the base of the rotary positions and eps are not in the tensors: sizes come
from the `config.json` next to the file, and every tensor is checked against them. Ignored are
the readout of the language model and the vision tower, whose tensors are kept for `export`.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ntm.conversion import transforms
from ntm.conversion.families import Family
from ntm.conversion.mapping import Entry
from ntm.conversion.shapes import Shapes, count_layers, parameter_shapes
from ntm.published.qwen import model as qwen
from ntm.published.qwen import settings as qwen_settings

# Where the text model is in a file, and where its vision tower: as published, and as different
# versions of transformers save the model with or without its readout.
_PREFIXES = {"model.language_model.": "model.visual.", "language_model.": "visual.",
             "model.": "visual.", "": "visual."}
_VISION = ("patch_embed.proj.weight", "merger.ln_q.weight",
           *(f"merger.mlp.{i}.{kind}" for i in (0, 2) for kind in ("weight", "bias")))
_VISION_BLOCK = ("norm1.weight", "norm2.weight",
                 *(f"{name}.{kind}" for name in ("attn.qkv", "attn.proj", "mlp.gate_proj",
                                                 "mlp.up_proj", "mlp.down_proj")
                   for kind in ("weight", "bias")))
_HEAD = "lm_head.weight"


def recognise_qwen3(shapes: Shapes) -> dict[str, Any] | None:
  """{"prefix", "head", "vision_blocks"} of a Qwen3 file, or None; see `configure_qwen3`."""
  return _recognise(shapes, qk_norm=True)


def recognise_qwen2_5_vl(shapes: Shapes) -> dict[str, Any] | None:
  """{"prefix", "head", "vision_blocks"} of a Qwen2.5-VL file, or None.

  A file may hold the text side alone; it then has no vision blocks.
  """
  return _recognise(shapes, qk_norm=False)


def configure_qwen3(architecture: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
  """Adds the fields of `QwenConfig`; raises ValueError for settings that are not supported.

  Args:
    architecture: of `recognise_qwen3`.
    values: of the config.json.
  """
  return {**architecture, **qwen_settings.read(values, "qwen3")}


def configure_qwen2_5_vl(architecture: Mapping[str, Any], values: Mapping[str, Any]
                         ) -> dict[str, Any]:
  """Adds the fields of `QwenConfig`, as `configure_qwen3`."""
  return {**architecture, **qwen_settings.read(values, "qwen2_5_vl")}


def config(architecture: Mapping[str, Any]) -> qwen.QwenConfig:
  """The model of an architecture; raises ValueError if its sizes do not fit each other."""
  file = ("prefix", "head", "vision_blocks")
  return qwen.QwenConfig(**{key: value for key, value in architecture.items() if key not in file})


def entries(architecture: Mapping[str, Any]) -> list[Entry]:
  """The mapping; raises ValueError as `config`."""
  sizes, prefix = config(architecture), architecture["prefix"]
  heads, kv_heads = ((n, sizes.head_width) for n in (sizes.num_heads, sizes.num_kv_heads))
  found = [Entry(f"{prefix}embed_tokens.weight", "embed"),
           Entry(f"{prefix}norm.weight", "norm/scale")]

  def add(source, target, transform=transforms.KEEP):
    found.append(Entry(f"{prefix}layers.{{i}}.{source}", f"layers/{target}", transform,
                       layers=sizes.layers))

  for name, ours, shape in (("q", "query", heads), ("k", "key", kv_heads),
                            ("v", "value", kv_heads)):
    add(f"self_attn.{name}_proj.weight", f"attention/{ours}/kernel", transforms.linear(shape))
    if sizes.qkv_bias:
      add(f"self_attn.{name}_proj.bias", f"attention/{ours}/bias",
          transforms.reshape((-1,), shape))
    if sizes.qk_norm and name != "v":
      add(f"self_attn.{name}_norm.weight", f"attention/{ours}_norm/scale")
  add("self_attn.o_proj.weight", "attention/out/kernel", transforms.linear(inputs=heads))
  for name in ("gate", "up", "down"):
    add(f"mlp.{name}_proj.weight", f"mlp/{name}/kernel", transforms.linear())
  add("input_layernorm.weight", "attention_norm/scale")
  add("post_attention_layernorm.weight", "mlp_norm/scale")
  return found


def ignored(architecture: Mapping[str, Any]) -> dict[str, str]:
  """The readout and the vision tower, where the file has them."""
  found = {_HEAD: "the readout of the language model"} if architecture["head"] else {}
  return found | dict.fromkeys(
      _vision_names(architecture["prefix"], architecture["vision_blocks"]), "the vision tower")


def target_shapes(architecture: Mapping[str, Any]) -> Shapes:
  """Shapes of the parameters of all layers by path; raises ValueError as `config`."""
  sizes = config(architecture)
  return parameter_shapes(qwen.Qwen(sizes, (sizes.layers,)).init,
                          jax.ShapeDtypeStruct((1, 1), jnp.int32))


QWEN3 = Family("qwen3", recognise_qwen3, entries, target_shapes, ignored,
               configure=configure_qwen3)
QWEN2_5_VL = Family("qwen2_5_vl", recognise_qwen2_5_vl, entries, target_shapes, ignored,
                    configure=configure_qwen2_5_vl)


def _recognise(shapes, qk_norm):
  for prefix, visual in _PREFIXES.items():
    layer = f"{prefix}layers.0.self_attn."
    if f"{prefix}embed_tokens.weight" not in shapes or f"{layer}q_proj.weight" not in shapes:
      continue
    # Qwen2.5-VL has biases in place of norms.
    if (f"{layer}q_norm.weight" in shapes, f"{layer}q_proj.bias" in shapes) != (
        qk_norm, not qk_norm):
      return None
    blocks = 0 if qk_norm else count_layers(shapes, visual + "blocks.{i}.norm1.weight")
    missing = [name for name in _vision_names(prefix, blocks) if name not in shapes]
    if missing:
      raise ValueError(f"{missing[0]} is missing, of a vision tower of {blocks} blocks")
    return {"prefix": prefix, "head": _HEAD in shapes, "vision_blocks": blocks}
  return None


def _vision_names(prefix, blocks):
  """Tensors of a vision tower, none if it has no blocks."""
  if not blocks:
    return []
  visual = _PREFIXES[prefix]
  return [visual + name for name in _VISION] + [
      f"{visual}blocks.{i}.{name}" for i in range(blocks) for name in _VISION_BLOCK]
