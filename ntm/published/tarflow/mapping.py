"""TarFlow's checkpoints (apple/ml-tarflow) ↔ `ntm.published.tarflow.model`.

Two orders change. The channels of a patch are slowest in the file and fastest here. A block
that scans from the last token flips its table of positions on every call there; here the table
is in the order of the scan. `attn_mask` is the same triangle in every block and not a
parameter here; `export` writes it back.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from ntm.conversion import transforms
from ntm.conversion.families import Family
from ntm.conversion.layer_entries import fused_attention, linear, norm
from ntm.conversion.mapping import Entry
from ntm.conversion.shapes import Shapes, checked_shape, count_layers, parameter_shapes
from ntm.published.tarflow import model as tarflow
from ntm.typing import Condition

_HEAD_WIDTH = 64  # Of all published models; not in the shapes.


def recognise(shapes: Shapes) -> dict[str, Any] | None:
  """The fields of a `TarFlowConfig`, or None for another model.

  An image is taken to have three channels, or one if that makes patches square and three do
  not.

  Raises:
    ValueError: a width that heads do not divide, or patches that are not square.
  """
  names = ("var", "blocks.0.proj_in.weight", "blocks.0.attn_blocks.0.mlp.main.0.weight",
           "blocks.0.proj_out.weight")
  if any(name not in shapes for name in names):
    return None
  (num_tokens, num_channels), (width, _), (mlp_width, _), (out, _) = (
      checked_shape(shapes, name, 2) for name in names)
  if width % _HEAD_WIDTH:
    raise ValueError(f"this TarFlow is {width} wide by {names[1]} {list(shapes[names[1]])}, which "
                     f"heads of {_HEAD_WIDTH} do not divide")
  sizes = {c: math.isqrt(num_channels // c) for c in (3, 1)}
  square = [c for c, size in sizes.items() if c * size * size == num_channels]
  if not square:
    raise ValueError(f"var {list(shapes['var'])} has {num_channels} channels per token, which is "
                     "not a square patch of one or three image channels")
  classes = "blocks.0.class_embed"
  return dict(
      num_blocks=count_layers(shapes, "blocks.{i}.proj_in.weight"),
      layers=count_layers(shapes, "blocks.0.attn_blocks.{i}.attention.qkv.weight"),
      width=width, num_heads=width // _HEAD_WIDTH, num_tokens=num_tokens,
      patch_size=sizes[square[0]], image_channels=square[0], mlp_ratio=mlp_width // width,
      num_classes=checked_shape(shapes, classes, 3)[0] if classes in shapes else 0,
      scales=out == 2 * num_channels)


def entries(architecture: dict[str, Any]) -> list[Entry]:
  """The mapping."""
  model = tarflow.TarFlowConfig(**architecture)
  tokens = transforms.patch_channels(model.image_channels, model.patch_size)
  found = [Entry("var", "var", tokens)]
  for i in range(model.num_blocks):
    found += _block(model, f"blocks.{i}", f"block_{i}", tokens, flipped=i % 2 == 1)
  return found


def target_shapes(architecture: dict[str, Any]) -> Shapes:
  """Shapes of the model's parameters by path."""
  model = tarflow.TarFlowConfig(**architecture)
  init = lambda rng, x: tarflow.TarFlow(model).init(
      rng, x, Condition(jnp.zeros(1)), method="forward_and_log_det")
  return parameter_shapes(init, jnp.zeros((1, model.num_tokens, model.num_channels)))


def ignored(architecture: dict[str, Any]) -> Mapping[str, str]:
  """The masks."""
  return {f"blocks.{i}.attn_mask": "lower-triangular, rebuilt"
          for i in range(architecture["num_blocks"])}


def _block(model, source, target, tokens, flipped):
  # The readout's halves are alpha and mu, in the file as here.
  outputs, layers = (1 + model.scales, model.num_channels), model.layers
  theirs, ours = f"{source}.attn_blocks.{{i}}", f"{target}/layers"
  labels = [Entry(f"{source}.class_embed", f"{target}/label",
                  transforms.reshape((-1, 1, model.width), (-1, model.width)))]
  return [
      Entry(f"{source}.proj_in.weight", f"{target}/embed/kernel",
            transforms.chain(tokens, transforms.linear())),
      Entry(f"{source}.proj_in.bias", f"{target}/embed/bias"),
      Entry(f"{source}.pos_embed", f"{target}/position/table",
            transforms.reverse(0) if flipped else transforms.KEEP),
      Entry(f"{source}.proj_out.weight", f"{target}/readout/kernel",
            transforms.chain(transforms.linear(outputs), tokens)),
      Entry(f"{source}.proj_out.bias", f"{target}/readout/bias",
            transforms.chain(transforms.reshape((-1,), outputs), tokens)),
      *(labels if model.num_classes else []),
      *norm(f"{theirs}.attention.norm", f"{ours}/attention_norm", layers),
      *fused_attention(f"{theirs}.attention", f"{ours}/attention", model.width, model.num_heads,
                       layers),
      *norm(f"{theirs}.mlp.norm", f"{ours}/mlp_norm", layers),
      *linear(f"{theirs}.mlp.main.0", f"{ours}/mlp/up", layers=layers),
      *linear(f"{theirs}.mlp.main.2", f"{ours}/mlp/down", layers=layers),
  ]


FAMILY = Family("tarflow", recognise, entries, target_shapes, ignored)
