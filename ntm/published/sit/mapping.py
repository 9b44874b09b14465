"""SiT's checkpoints ↔ `ntm.published.sit.model`.

The file embeds patches by a convolution, channels slowest, and `ntm.nn.patchify` has channels
fastest, so the embedding's inputs are put in our order; the readout is in our order already.
Nothing is ignored, including the fixed table of positions and the half of the readout beyond
the velocity, so an export equals its source.

DiT's checkpoints have the same names and shapes but predict noise at another time; a file
does not tell them from SiT's.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from ntm.config import ModelConfig
from ntm.conversion import transforms
from ntm.conversion.families import Family
from ntm.conversion.layer_entries import fused_attention, linear
from ntm.conversion.mapping import Entry
from ntm.conversion.shapes import Shapes, checked_shape, count_layers, parameter_shapes
from ntm.published.sit import model as sit

# The published models S, B, L and XL; the number of heads is not in the shapes.
_HEADS = {config.width: config.num_heads for config in (sit.S, sit.B, sit.L, sit.XL)}


def recognise(shapes: Shapes) -> dict[str, Any] | None:
  """The fields of a `SiTConfig`, or None for another model.

  Raises:
    ValueError: a width whose number of heads is not known, or tokens that do not fill a
      square.
  """
  names = {"x_embedder.proj.weight": 4, "y_embedder.embedding_table.weight": 2, "pos_embed": 3,
           "blocks.0.mlp.fc1.weight": 2, "final_layer.linear.weight": 2}
  if any(name not in shapes for name in names):
    return None
  (width, channels, patch_size, _), (classes, _), (_, num_tokens, _), (mlp_width, _), (out, _) = (
      checked_shape(shapes, name, num_axes) for name, num_axes in names.items())
  if width not in _HEADS:
    raise ValueError(f"this SiT is {width} wide by x_embedder.proj.weight "
                     f"{list(shapes['x_embedder.proj.weight'])}, which is none of "
                     f"{sorted(_HEADS)}; the number of heads cannot be read from the file")
  side = math.isqrt(num_tokens)
  if side * side != num_tokens:
    raise ValueError(f"pos_embed has {num_tokens} tokens, which is not a square")
  return dict(
      layers=count_layers(shapes, "blocks.{i}.attn.qkv.weight"), width=width,
      num_heads=_HEADS[width], mlp_ratio=mlp_width // width, grid_shape=[side, side],
      patch_size=patch_size, channels=channels, num_classes=classes - 1,
      learn_sigma=out == 2 * channels * patch_size ** 2)


def config(architecture: dict[str, Any]) -> sit.SiTConfig:
  """The model of an architecture."""
  return sit.SiTConfig(**architecture | {"grid_shape": tuple(architecture["grid_shape"])})


def entries(architecture: dict[str, Any]) -> list[Entry]:
  """The mapping."""
  model = config(architecture)
  width, layers, patch_size = model.width, model.layers, model.patch_size
  embed = transforms.chain(
      transforms.reshape((width, model.channels, patch_size, patch_size), (width, -1)),
      transforms.patch_channels(model.channels, patch_size), transforms.linear())
  outputs = (patch_size ** 2, 1 + model.learn_sigma, model.channels)
  return [
      Entry("x_embedder.proj.weight", "embed/kernel", embed),
      Entry("x_embedder.proj.bias", "embed/bias"),
      Entry("pos_embed", "position", transforms.reshape((1, -1, width), (-1, width))),
      *linear("t_embedder.mlp.0", "time_in"),
      *linear("t_embedder.mlp.2", "time_out"),
      Entry("y_embedder.embedding_table.weight", "label/table"),
      *fused_attention("blocks.{i}.attn", "blocks/attention", width, model.num_heads, layers),
      *linear("blocks.{i}.mlp.fc1", "blocks/mlp/up", layers=layers),
      *linear("blocks.{i}.mlp.fc2", "blocks/mlp/down", layers=layers),
      *linear("blocks.{i}.adaLN_modulation.1", "blocks/modulation", (6, width), layers=layers),
      *linear("final_layer.adaLN_modulation.1", "modulation", (2, width)),
      *linear("final_layer.linear", "readout", outputs),
  ]


def target_shapes(architecture: dict[str, Any]) -> Shapes:
  """Shapes of the model's parameters by path."""
  model = config(architecture)
  return parameter_shapes(
      sit.SiT(model).init, jnp.zeros((1, model.num_tokens, model.num_channels)), jnp.zeros(1),
      jax.ShapeDtypeStruct((1,), jnp.int32))


def run(architecture: dict[str, Any]) -> dict[str, Any] | None:
  """Config of a flow-matching run with these parameters; None without learn_sigma."""
  model = config(architecture)
  if not model.learn_sigma:
    return None
  side = model.grid_shape[0] * model.patch_size
  return {
      "model": {
          "kind": "flow_matching", "image_shape": (side, side, model.channels),
          "patch_shape": (model.patch_size,) * 2, "num_classes": model.num_classes,
          "backbone": {"kind": "sit"},
          "predictor": {"layers": model.layers, "width": model.width,
                        "num_heads": model.num_heads, "num_kv_heads": model.num_heads,
                        "mlp_ratio": model.mlp_ratio}},
      "process": {"schedule": "uniform"}}


def sit_config(config: ModelConfig) -> sit.SiTConfig:
  """The SiT that a model's config describes."""
  net = config.predictor
  return sit.SiTConfig(
      net.layers, net.width, net.num_heads, net.mlp_ratio, config.grid_shape,
      config.patch_shape[0], config.image_shape[-1], config.num_classes)


FAMILY = Family("sit", recognise, entries, target_shapes, run=run, prefix="network/backbone/")
