"""SiT's checkpoints ↔ `ntm.published.sit.model`.

Patches are cut by a convolution, channels slowest, in the file and by
`ntm.nn.patchify`, channels fastest, here; the embedding's inputs are put in our
order. The readout is in our order already. Nothing is ignored, the fixed
position table and the half of the readout beyond the velocity included, so what
is written equals what was read.

DiT's checkpoints have the same names and shapes but hold a noise predictor of
another time: a file cannot tell, whoever converts it must know.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from ntm.config import ModelConfig
from ntm.conversion import layer_entries, mapping
from ntm.conversion.mapping import Entry
from ntm.published.sit import model as sit

# Shapes do not show the heads; these are the published models' S, B, L and XL.
_HEADS = {config.width: config.num_heads for config in (sit.S, sit.B, sit.L, sit.XL)}


def recognise(shapes: mapping.Shapes) -> dict[str, Any] | None:
  """The fields of a `SiTConfig`, or None.

  Raises:
    ValueError: a SiT whose heads are not known by its width, or whose tokens do
      not fill a square.
  """
  names = {"x_embedder.proj.weight": 4, "y_embedder.embedding_table.weight": 2, "pos_embed": 3,
           "blocks.0.mlp.fc1.weight": 2, "final_layer.linear.weight": 2}
  if any(name not in shapes for name in names):
    return None
  (width, channels, patch_size, _), (classes, _), (_, num_tokens, _), (mlp_width, _), (out, _) = (
      mapping.sizes(shapes, name, axes) for name, axes in names.items())
  if width not in _HEADS:
    raise ValueError(f"this SiT is {width} wide by x_embedder.proj.weight "
                     f"{list(shapes['x_embedder.proj.weight'])}, which is none of "
                     f"{sorted(_HEADS)}; the number of heads cannot be read from the file")
  side = round(num_tokens ** 0.5)
  if side * side != num_tokens:
    raise ValueError(f"pos_embed has {num_tokens} tokens, which is not a square")
  return dict(
      layers=layer_entries.count(shapes, "blocks.{i}.attn.qkv.weight"), width=width,
      num_heads=_HEADS[width], mlp_ratio=mlp_width // width, grid_shape=[side, side],
      patch_size=patch_size, channels=channels, num_classes=classes - 1,
      learn_sigma=out == 2 * channels * patch_size ** 2)


def config_of(architecture: dict[str, Any]) -> sit.SiTConfig:
  """The model's config from JSON values."""
  config = sit.SiTConfig(**architecture)
  return dataclasses.replace(config, grid_shape=tuple(config.grid_shape))


def entries(architecture: dict[str, Any]) -> list[Entry]:
  """The table."""
  config = config_of(architecture)
  linear, width, layers = layer_entries.linear, config.width, config.layers
  patch = (config.channels, config.patch_size, config.patch_size)
  tokens = layer_entries.then(
      mapping.reshape((width, *patch), (width, -1)),
      layer_entries.then(layer_entries.patch_channels(*patch[:2]), mapping.linear()))
  outputs = (config.patch_size ** 2, 1 + config.learn_sigma, config.channels)
  return [
      Entry("x_embedder.proj.weight", "embed/kernel", tokens),
      Entry("x_embedder.proj.bias", "embed/bias"),
      Entry("pos_embed", "position", mapping.reshape((1, -1, width), (-1, width))),
      *linear("t_embedder.mlp.0", "time_in"),
      *linear("t_embedder.mlp.2", "time_out"),
      Entry("y_embedder.embedding_table.weight", "label/table"),
      *layer_entries.fused_attention("blocks.{i}.attn", "blocks/attention", width, config.num_heads,
                               layers),
      *linear("blocks.{i}.mlp.fc1", "blocks/mlp/up", layers=layers),
      *linear("blocks.{i}.mlp.fc2", "blocks/mlp/down", layers=layers),
      *linear("blocks.{i}.adaLN_modulation.1", "blocks/modulation", (6, width), layers=layers),
      *linear("final_layer.adaLN_modulation.1", "modulation", (2, width)),
      *linear("final_layer.linear", "readout", outputs),
  ]


def target_shapes(architecture: dict[str, Any]) -> mapping.Shapes:
  """Shapes of all leaves."""
  config = config_of(architecture)
  return layer_entries.leaf_shapes(
      sit.SiT(config).init, jnp.zeros((1, config.num_tokens, config.num_channels)),
      jnp.zeros(1), jax.ShapeDtypeStruct((1,), jnp.int32))


def run(architecture: dict[str, Any]) -> dict[str, Any] | None:
  """Config of a flow-matching run with these parameters; None without learn_sigma."""
  config = config_of(architecture)
  if not config.learn_sigma:
    return None
  side = config.grid_shape[0] * config.patch_size
  return {
      "model": {
          "kind": "flow_matching", "image_shape": (side, side, config.channels),
          "patch_shape": (config.patch_size,) * 2, "num_classes": config.num_classes,
          "backbone": {"kind": "sit"},
          "predictor": {"layers": config.layers, "width": config.width,
                        "num_heads": config.num_heads, "num_kv_heads": config.num_heads,
                        "mlp_ratio": config.mlp_ratio}},
      "process": {"schedule": "uniform"}}


def sit_config(config: ModelConfig) -> sit.SiTConfig:
  """The SiT that a model's config describes."""
  net = config.predictor
  return sit.SiTConfig(
      net.layers, net.width, net.num_heads, net.mlp_ratio, config.grid_shape,
      config.patch_shape[0], config.image_shape[-1], config.num_classes)


FAMILY = mapping.Family("sit", recognise, entries, target_shapes, run=run,
                        prefix="network/backbone/")
