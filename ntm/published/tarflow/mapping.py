"""TarFlow's checkpoints (apple/ml-tarflow) ↔ `ntm.published.tarflow.model`.

Two changes of order: the channels of a patch are slowest in the file and fastest
here; a block that scans from the last token flips its position table on every
call there, while here the table lies in the order of the scan. `attn_mask` is the
same triangle in every block and is not kept, so what is written is loaded there
with strict=False.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from ntm.conversion import layer_entries, mapping
from ntm.conversion.mapping import Entry, Transform
from ntm.published.tarflow import model as tarflow
from ntm.typing import Condition

_HEAD_WIDTH = 64  # Of all models of that code; shapes do not show it.
_FLIP = Transform(lambda a: a[::-1], lambda a: a[::-1])


def recognise(shapes: mapping.Shapes) -> dict[str, Any] | None:
  """The fields of a `TarFlowConfig`, or None.

  An image is taken to have three channels, or one if that does not make patches
  square.

  Raises:
    ValueError: a TarFlow of another head width, or with other patches.
  """
  names = ("var", "blocks.0.proj_in.weight", "blocks.0.attn_blocks.0.mlp.main.0.weight",
           "blocks.0.proj_out.weight")
  if any(name not in shapes for name in names):
    return None
  (num_tokens, num_channels), (width, _), (mlp_width, _), (out, _) = (
      mapping.sizes(shapes, name, 2) for name in names)
  if width % _HEAD_WIDTH:
    raise ValueError(f"this TarFlow is {width} wide by {names[1]} {list(shapes[names[1]])}, which "
                     f"heads of {_HEAD_WIDTH} do not divide")
  sizes = {c: math.isqrt(num_channels // c) for c in (3, 1)}
  matching = [c for c, size in sizes.items() if c * size * size == num_channels]
  if not matching:
    raise ValueError(f"var {list(shapes['var'])} has {num_channels} channels per token, which is "
                     "not a square patch of one or three image channels")
  classes = "blocks.0.class_embed"
  num_classes = mapping.sizes(shapes, classes, 3)[0] if classes in shapes else 0
  return dict(
      num_blocks=layer_entries.count(shapes, "blocks.{i}.proj_in.weight"),
      layers=layer_entries.count(shapes, "blocks.0.attn_blocks.{i}.attention.qkv.weight"),
      width=width, num_heads=width // _HEAD_WIDTH, num_tokens=num_tokens,
      patch_size=sizes[matching[0]], image_channels=matching[0], mlp_ratio=mlp_width // width,
      num_classes=num_classes, scales=out == 2 * num_channels)


def entries(architecture: dict[str, Any]) -> list[Entry]:
  """The table."""
  config = tarflow.TarFlowConfig(**architecture)
  tokens = layer_entries.patch_channels(config.image_channels, config.patch_size)
  table_of = [Entry("var", "var", tokens)]
  for i in range(config.num_blocks):
    table_of += _block(config, f"blocks.{i}", f"block_{i}", tokens, flipped=i % 2 == 1)
  return table_of


def target_shapes(architecture: dict[str, Any]) -> mapping.Shapes:
  """Shapes of all leaves."""
  config = tarflow.TarFlowConfig(**architecture)
  init = lambda rng, x: tarflow.TarFlow(config).init(
      rng, x, Condition(jnp.zeros(1)), method="forward_and_log_det")
  return layer_entries.leaf_shapes(init, jnp.zeros((1, config.num_tokens, config.num_channels)))


def ignored(architecture: dict[str, Any]) -> Mapping[str, str]:
  """The masks."""
  return {f"blocks.{i}.attn_mask": "lower-triangular, rebuilt"
          for i in range(architecture["num_blocks"])}


def _block(config, source, target, tokens, flipped):
  # The readout's halves are alpha and mu in the file and here.
  outputs, layers = (1 + config.scales, config.num_channels), config.layers
  found = [
      Entry(f"{source}.proj_in.weight", f"{target}/embed/kernel",
            layer_entries.then(tokens, mapping.linear())),
      Entry(f"{source}.proj_in.bias", f"{target}/embed/bias"),
      Entry(f"{source}.pos_embed", f"{target}/position/table", _FLIP if flipped else mapping.KEEP),
      Entry(f"{source}.proj_out.weight", f"{target}/readout/kernel",
            layer_entries.then(mapping.linear(*outputs), tokens)),
      Entry(f"{source}.proj_out.bias", f"{target}/readout/bias",
            layer_entries.then(mapping.reshape((-1,), outputs), tokens)),
  ]
  if config.num_classes:
    found.append(Entry(f"{source}.class_embed", f"{target}/label",
                       mapping.reshape((-1, 1, config.width), (-1, config.width))))
  source, target = f"{source}.attn_blocks.{{i}}", f"{target}/layers"
  return [
      *found,
      *layer_entries.layer_norm(f"{source}.attention.norm", f"{target}/attention_norm", layers),
      *layer_entries.fused_attention(f"{source}.attention", f"{target}/attention", config.width,
                               config.num_heads, layers),
      *layer_entries.layer_norm(f"{source}.mlp.norm", f"{target}/mlp_norm", layers),
      *layer_entries.linear(f"{source}.mlp.main.0", f"{target}/mlp/up", layers=layers),
      *layer_entries.linear(f"{source}.mlp.main.2", f"{target}/mlp/down", layers=layers),
  ]


FAMILY = mapping.Family("tarflow", recognise, entries, target_shapes, ignored)
