"""FLUX.2 [klein] checkpoints, in the layout of diffusers and in the original one.

Both hold the same numbers. The original fuses query, key and value of the double blocks and
has shift before scale in the last layer, as we do; diffusers has scale before shift.

The tensors do not tell a base model, whose output is the velocity of the flow, from one
distilled to few steps; that is known from where the file came from.
"""

import collections
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from ntm import config as config_lib
from ntm.config import ModelConfig
from ntm.conversion import transforms
from ntm.conversion.families import Family
from ntm.conversion.mapping import Entry
from ntm.conversion.shapes import Shapes, checked_shape, count_layers, parameter_shapes
from ntm.published.flux2 import model as flux2

_LAYOUTS = ("diffusers", "original")

# Leaf → tensor in either layout, without the last part of the name: "kernel" here and
# "weight" there, but for the norms of queries and keys. Leaves that share a tensor are rows
# of it, in this order. "{i}" is the block.
_LEAVES = {
    "image_embed": ("x_embedder", "img_in"),
    "text_embed": ("context_embedder", "txt_in"),
    "time_in": ("time_guidance_embed.timestep_embedder.linear_1", "time_in.in_layer"),
    "time_out": ("time_guidance_embed.timestep_embedder.linear_2", "time_in.out_layer"),
    "image_modulation": ("double_stream_modulation_img.linear", "double_stream_modulation_img.lin"),
    "text_modulation": ("double_stream_modulation_txt.linear", "double_stream_modulation_txt.lin"),
    "single_modulation": ("single_stream_modulation.linear", "single_stream_modulation.lin"),
    "modulation": ("norm_out.linear", "final_layer.adaLN_modulation.1"),
    "readout": ("proj_out", "final_layer.linear"),
}
_DOUBLE = {
    "image_heads/query": ("attn.to_q", "img_attn.qkv"),
    "image_heads/key": ("attn.to_k", "img_attn.qkv"),
    "image_heads/value": ("attn.to_v", "img_attn.qkv"),
    "image_heads/query_norm": ("attn.norm_q", "img_attn.norm.query_norm"),
    "image_heads/key_norm": ("attn.norm_k", "img_attn.norm.key_norm"),
    "image_out": ("attn.to_out.0", "img_attn.proj"),
    "image_up": ("ff.linear_in", "img_mlp.0"),
    "image_down": ("ff.linear_out", "img_mlp.2"),
    "text_heads/query": ("attn.add_q_proj", "txt_attn.qkv"),
    "text_heads/key": ("attn.add_k_proj", "txt_attn.qkv"),
    "text_heads/value": ("attn.add_v_proj", "txt_attn.qkv"),
    "text_heads/query_norm": ("attn.norm_added_q", "txt_attn.norm.query_norm"),
    "text_heads/key_norm": ("attn.norm_added_k", "txt_attn.norm.key_norm"),
    "text_out": ("attn.to_add_out", "txt_attn.proj"),
    "text_up": ("ff_context.linear_in", "txt_mlp.0"),
    "text_down": ("ff_context.linear_out", "txt_mlp.2"),
}
_SINGLE = {
    "heads/query": ("attn.to_qkv_mlp_proj", "linear1"),
    "heads/key": ("attn.to_qkv_mlp_proj", "linear1"),
    "heads/value": ("attn.to_qkv_mlp_proj", "linear1"),
    "up": ("attn.to_qkv_mlp_proj", "linear1"),
    "heads/query_norm": ("attn.norm_q", "norm.query_norm"),
    "heads/key_norm": ("attn.norm_k", "norm.key_norm"),
    "out": ("attn.to_out", "linear2"),
}
_BLOCKS = {"double": ("transformer_blocks", "double_blocks"),
           "single": ("single_transformer_blocks", "single_blocks")}
_LEAVES |= {f"{kind}/{leaf}": tuple(f"{blocks}.{{i}}.{name}" for blocks, name in
                                    zip(_BLOCKS[kind], names))
            for kind, leaves in (("double", _DOUBLE), ("single", _SINGLE))
            for leaf, names in leaves.items()}
# The leaves that tell the sizes, with the number of axes of their tensors.
_TELLING = {
    "image_embed/kernel": 2, "text_embed/kernel": 2, "time_in/kernel": 2, "readout/kernel": 2,
    "double/image_heads/query_norm/scale": 1, "double/image_down/kernel": 2,
    "single/out/kernel": 2, "single_modulation/kernel": 2}


def recognise(shapes: Shapes) -> dict[str, Any] | None:
  """{"layout": "diffusers" or "original", and fields of Flux2Config}, or None.

  The channels of a head are taken to be shared evenly by four axes of position; theta and
  eps are not in the tensors and are those of all published models.

  Raises:
    ValueError: heads do not divide the width.
  """
  for layout in _LAYOUTS:
    names = _names(layout)
    telling = {names[leaf].replace("{i}", "0"): num_axes for leaf, num_axes in _TELLING.items()}
    if any(name not in shapes for name in telling):
      continue
    image, text, time, readout, norm, down, *_ = (
        checked_shape(shapes, name, num_axes) for name, num_axes in telling.items())
    if not norm[0] or image[0] % norm[0] or not image[0]:
      name = names["image_embed/kernel"]
      raise ValueError(f"{name} {list(shapes[name])} makes the model {image[0]} wide, which heads "
                       f"of {norm[0]} do not divide")
    return {
        "layout": layout,
        "width": image[0],
        "num_heads": image[0] // norm[0],
        "double_layers": count_layers(shapes, names["double/image_down/kernel"]),
        "single_layers": count_layers(shapes, names["single/out/kernel"]),
        "text_width": text[1],
        "in_channels": image[1],
        "out_channels": readout[0],
        "axes": [norm[0] // 4] * 4,
        "mlp_ratio": down[1] / image[0],
        "time_width": time[1],
    }
  return None


def config(architecture: Mapping[str, Any]) -> flux2.Flux2Config:
  """The model of an architecture; raises ValueError if its sizes do not fit each other."""
  sizes = {key: value for key, value in architecture.items() if key != "layout"}
  return flux2.Flux2Config(**sizes | {"axes": tuple(sizes["axes"])})


def entries(architecture: Mapping[str, Any]) -> list[Entry]:
  """The mapping of a layout; raises ValueError as `config`."""
  model, layout = config(architecture), architecture["layout"]
  heads = (model.num_heads, model.head_width)
  split, merge = transforms.linear(heads), transforms.linear(inputs=heads)
  up = transforms.linear((2, model.mlp_width))
  six, two = (transforms.linear((n, model.width)) for n in (6, 2))
  transform_of = {
      "query": split, "key": split, "value": split, "query_norm": transforms.KEEP,
      "key_norm": transforms.KEEP, "image_out": merge, "text_out": merge, "image_up": up,
      "text_up": up, "up": up, "image_modulation": six, "text_modulation": six,
      "single_modulation": transforms.linear((3, model.width)),
      "modulation": transforms.chain(two, transforms.reverse(1)) if layout == "diffusers" else two,
  }
  layers = {"double": model.double_layers, "single": model.single_layers}
  names = _names(layout)
  num_leaves, rows_used, found = collections.Counter(names.values()), collections.Counter(), []
  for target, source in names.items():
    part, rows = target.split("/")[-2], None
    if num_leaves[source] > 1:
      start = rows_used[source]
      rows_used[source] += 2 * model.mlp_width if part == "up" else model.width
      rows = (start, rows_used[source])
    found.append(Entry(source, target, transform_of.get(part, transforms.linear()), rows,
                       layers.get(target.split("/")[0], 0)))
  return found


def target_shapes(architecture: Mapping[str, Any]) -> Shapes:
  """Shapes of the model's parameters by path; raises ValueError as `config`."""
  model = config(architecture)
  init = lambda rng, *args: flux2.Flux2(model).init(
      rng, *args, flux2.image_ids((1, 1)), flux2.text_ids(1))
  return parameter_shapes(init, jnp.zeros((1, 1, model.in_channels)), jnp.zeros(1),
                          jnp.zeros((1, 1, model.text_width)))


def run(architecture: Mapping[str, Any]) -> dict[str, Any] | None:
  """Config of a flow-matching run with these parameters, at 512 x 512 pixels.

  Its images are 32 x 32 standardised patches of the autoencoder. None for sizes that a run's
  config cannot express.
  """
  sizes = config(architecture)
  values = {
      "model": {
          "kind": "flow_matching", "image_shape": (32, 32, sizes.in_channels),
          "patch_shape": (1, 1), "num_classes": 0,
          "backbone": {"kind": "flux2", "double_layers": sizes.double_layers,
                       "text_tokens": 512, "text_width": sizes.text_width},
          "predictor": {"layers": sizes.single_layers, "width": sizes.width,
                        "num_heads": sizes.num_heads, "num_kv_heads": sizes.num_heads,
                        "mlp_ratio": round(sizes.mlp_ratio)}}}
  same = flux2_config(config_lib.from_dict(values).model) == sizes
  return values if same else None


def flux2_config(config: ModelConfig) -> flux2.Flux2Config:
  """The FLUX.2 Transformer that a model's config describes."""
  net, head_width = config.predictor, config.predictor.width // config.predictor.num_heads
  return flux2.Flux2Config(
      net.width, net.num_heads, config.backbone.double_layers, net.layers,
      config.backbone.text_width, config.num_channels, config.num_channels,
      (head_width // 4,) * 4, mlp_ratio=net.mlp_ratio)


FAMILY = Family("flux2", recognise, entries, target_shapes, run=run, prefix="network/backbone/")


def _names(layout: str) -> dict[str, str]:
  """Leaf → tensor in a layout."""
  which = _LAYOUTS.index(layout)
  ours = lambda leaf: "scale" if leaf.endswith("_norm") else "kernel"
  theirs = lambda leaf: "scale" if layout == "original" and leaf.endswith("_norm") else "weight"
  return {f"{leaf}/{ours(leaf)}": f"{names[which]}.{theirs(leaf)}"
          for leaf, names in _LEAVES.items()}
