"""FLUX.2 [klein] checkpoints, in the layout of diffusers and in the original one.

Both hold the same numbers. The original joins query, key and value of the
double blocks, and has shift before scale in the last layer, as we do; diffusers
has scale before shift.

The tensors do not tell a base model, whose output is the velocity of the flow,
from one distilled to few steps: that is known from where the file came from.
"""

import collections
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from ntm import config as config_lib
from ntm.config import ModelConfig
from ntm.conversion import layer_entries, mapping
from ntm.conversion.mapping import KEEP, Entry, Family, Shapes, Transform, linear, linear_from
from ntm.published.flux2 import model as flux2

_LAYOUTS = ("diffusers", "original")

# Leaf → its tensor in either layout. Leaves that share a tensor are rows of it,
# in the order of the table.
_TOP = {
    "image_embed/kernel": ("x_embedder.weight", "img_in.weight"),
    "text_embed/kernel": ("context_embedder.weight", "txt_in.weight"),
    "time_in/kernel": ("time_guidance_embed.timestep_embedder.linear_1.weight",
                       "time_in.in_layer.weight"),
    "time_out/kernel": ("time_guidance_embed.timestep_embedder.linear_2.weight",
                        "time_in.out_layer.weight"),
    "image_modulation/kernel": ("double_stream_modulation_img.linear.weight",
                                "double_stream_modulation_img.lin.weight"),
    "text_modulation/kernel": ("double_stream_modulation_txt.linear.weight",
                               "double_stream_modulation_txt.lin.weight"),
    "single_modulation/kernel": ("single_stream_modulation.linear.weight",
                                 "single_stream_modulation.lin.weight"),
    "modulation/kernel": ("norm_out.linear.weight", "final_layer.adaLN_modulation.1.weight"),
    "readout/kernel": ("proj_out.weight", "final_layer.linear.weight"),
}
_DOUBLE = {
    "image_heads/query/kernel": ("attn.to_q.weight", "img_attn.qkv.weight"),
    "image_heads/key/kernel": ("attn.to_k.weight", "img_attn.qkv.weight"),
    "image_heads/value/kernel": ("attn.to_v.weight", "img_attn.qkv.weight"),
    "image_heads/query_norm/scale": ("attn.norm_q.weight", "img_attn.norm.query_norm.scale"),
    "image_heads/key_norm/scale": ("attn.norm_k.weight", "img_attn.norm.key_norm.scale"),
    "image_out/kernel": ("attn.to_out.0.weight", "img_attn.proj.weight"),
    "image_up/kernel": ("ff.linear_in.weight", "img_mlp.0.weight"),
    "image_down/kernel": ("ff.linear_out.weight", "img_mlp.2.weight"),
    "text_heads/query/kernel": ("attn.add_q_proj.weight", "txt_attn.qkv.weight"),
    "text_heads/key/kernel": ("attn.add_k_proj.weight", "txt_attn.qkv.weight"),
    "text_heads/value/kernel": ("attn.add_v_proj.weight", "txt_attn.qkv.weight"),
    "text_heads/query_norm/scale": ("attn.norm_added_q.weight", "txt_attn.norm.query_norm.scale"),
    "text_heads/key_norm/scale": ("attn.norm_added_k.weight", "txt_attn.norm.key_norm.scale"),
    "text_out/kernel": ("attn.to_add_out.weight", "txt_attn.proj.weight"),
    "text_up/kernel": ("ff_context.linear_in.weight", "txt_mlp.0.weight"),
    "text_down/kernel": ("ff_context.linear_out.weight", "txt_mlp.2.weight"),
}
_SINGLE = {
    "heads/query/kernel": ("attn.to_qkv_mlp_proj.weight", "linear1.weight"),
    "heads/key/kernel": ("attn.to_qkv_mlp_proj.weight", "linear1.weight"),
    "heads/value/kernel": ("attn.to_qkv_mlp_proj.weight", "linear1.weight"),
    "up/kernel": ("attn.to_qkv_mlp_proj.weight", "linear1.weight"),
    "heads/query_norm/scale": ("attn.norm_q.weight", "norm.query_norm.scale"),
    "heads/key_norm/scale": ("attn.norm_k.weight", "norm.key_norm.scale"),
    "out/kernel": ("attn.to_out.weight", "linear2.weight"),
}
# What tells the sizes, with the axes of the tensor.
_TELLING = {
    "image_embed/kernel": 2, "text_embed/kernel": 2, "time_in/kernel": 2, "readout/kernel": 2,
    "double/image_heads/query_norm/scale": 1, "double/image_down/kernel": 2,
    "single/out/kernel": 2, "single_modulation/kernel": 2}
_DEPTHS = {"double": "double_layers", "single": "single_layers"}

# A weight [2 D, D], scale then shift ↔ a kernel [D, 2, D], shift then scale.
_SCALE_FIRST = Transform(
    lambda a: a.T.reshape(a.shape[1], 2, -1)[:, ::-1],
    lambda a: a[:, ::-1].reshape(a.shape[0], -1).T)


def recognise(shapes: Shapes) -> dict[str, Any] | None:
  """The sizes of a FLUX.2 file, or None.

  The channels of a head are taken to be shared out evenly between four axes;
  theta and eps are not in the tensors and are those of all published models.

  Args:
    shapes: of the tensors by name.

  Returns:
    {"layout": "diffusers" or "original", and attributes of Flux2Config}.

  Raises:
    ValueError: heads that do not divide the width.
  """
  for layout in _LAYOUTS:
    names = _names(layout)
    telling = {names[target].replace("{i}", "0"): axes for target, axes in _TELLING.items()}
    if any(name not in shapes for name in telling):
      continue
    image, text, time, readout, norm, down, *_ = (
        mapping.sizes(shapes, name, axes) for name, axes in telling.items())
    if not norm[0] or image[0] % norm[0] or not image[0]:
      name = names["image_embed/kernel"]
      raise ValueError(f"{name} {list(shapes[name])} makes the model {image[0]} wide, which heads "
                       f"of {norm[0]} do not divide")
    return {
        "layout": layout,
        "width": image[0],
        "num_heads": image[0] // norm[0],
        "double_layers": layer_entries.count(shapes, names["double/image_down/kernel"]),
        "single_layers": layer_entries.count(shapes, names["single/out/kernel"]),
        "text_width": text[1],
        "in_channels": image[1],
        "out_channels": readout[0],
        "axes": [norm[0] // 4] * 4,
        "mlp_ratio": down[1] / image[0],
        "time_width": time[1],
    }
  return None


def config(architecture: Mapping[str, Any]) -> flux2.Flux2Config:
  """The sizes, from what `recognise` returns.

  Raises:
    ValueError: sizes that do not fit each other.
  """
  sizes = {key: value for key, value in architecture.items() if key != "layout"}
  return flux2.Flux2Config(**sizes | {"axes": tuple(sizes["axes"])})


def entries(architecture: Mapping[str, Any]) -> list[Entry]:
  """The table of a layout.

  Raises:
    ValueError: as `config`.
  """
  sizes = config(architecture)
  layout, width = architecture["layout"], sizes.width
  heads = linear(sizes.num_heads, sizes.head_width)
  merge = linear_from(sizes.num_heads, sizes.head_width)
  up = linear(2, sizes.mlp_width)
  transforms = {
      "query": heads, "key": heads, "value": heads, "query_norm": KEEP, "key_norm": KEEP,
      "image_out": merge, "text_out": merge, "image_up": up, "text_up": up, "up": up,
      "image_modulation": linear(6, width), "text_modulation": linear(6, width),
      "single_modulation": linear(3, width),
      "modulation": _SCALE_FIRST if layout == "diffusers" else linear(2, width),
  }
  names = _names(layout)
  users = collections.Counter(names.values())
  used, table = collections.Counter(), []
  for target, source in names.items():
    part = target.split("/")[-2]
    rows = None
    if users[source] > 1:
      start = used[source]
      used[source] += 2 * sizes.mlp_width if part == "up" else width
      rows = (start, used[source])
    depth = _DEPTHS.get(target.split("/")[0])
    table.append(Entry(source, target, transforms.get(part, linear()), rows,
                       architecture[depth] if depth else 0))
  return table


def target_shapes(architecture: Mapping[str, Any]) -> Shapes:
  """Shapes of the parameters of `flux2.Flux2` by path; nothing is computed.

  Raises:
    ValueError: as `config`.
  """
  sizes = config(architecture)
  init = lambda rng, *args: flux2.Flux2(sizes).init(
      rng, *args, flux2.image_ids((1, 1)), flux2.text_ids(1))
  return layer_entries.leaf_shapes(init, jnp.zeros((1, 1, sizes.in_channels)), jnp.zeros(1),
                             jnp.zeros((1, 1, sizes.text_width)))


def run(architecture: Mapping[str, Any]) -> dict[str, Any] | None:
  """Config of a flow-matching run with these parameters, at 512 x 512 pixels.

  Its images are the autoencoder's standardised patches, 32 x 32 of them. None
  for sizes that a run's config cannot say.
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
  """Leaf → tensor in a layout, "{i}" standing for the block."""
  which = _LAYOUTS.index(layout)
  double = ("transformer_blocks", "double_blocks")[which]
  single = ("single_transformer_blocks", "single_blocks")[which]
  return ({target: names[which] for target, names in _TOP.items()}
          | {f"double/{target}": f"{double}.{{i}}.{names[which]}"
             for target, names in _DOUBLE.items()}
          | {f"single/{target}": f"{single}.{{i}}.{names[which]}"
             for target, names in _SINGLE.items()})
