"""The autoencoder of Stable Diffusion and SiT, in diffusers' layout.

A file does not tell the scale of its latents. Of four channels, they are taken
for those of Stable Diffusion 1 and 2, 0.18215; SDXL's autoencoder has the same
shapes and 0.13025, to be set in AutoencoderConfig. Others are left at 1.
"""

from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp

from ntm.conversion.mapping import CONV, Entry, Family, Shapes, linear, sizes
from ntm.published.autoencoders.model import Autoencoder, AutoencoderConfig

# Names of query, key, value and output: of today, and of files from before 2023.
_ATTENTION = (("to_q", "to_k", "to_v", "to_out.0"), ("query", "key", "value", "proj_attn"))
_GROUPS = 32  # Of all known models; shapes do not show it.
_MIDDLE = "encoder.mid_block.attentions.0"


def recognise(shapes: Shapes) -> dict[str, Any] | None:
  """The architecture, or None if the file holds another model."""
  architecture = read_architecture(shapes)
  if architecture is None or any(name.startswith("bn.") for name in shapes):
    return None
  return architecture | {"scale": 0.18215 if architecture["latent_channels"] == 4 else 1.0}


def read_architecture(shapes: Shapes) -> dict[str, Any] | None:
  """Fields of AutoencoderConfig, and whether the attention has its old names.

  The number of groups is not in a file: all known models have 32.
  """
  encoder_widths = _widths(shapes, "encoder.down_blocks")
  decoder_widths = _widths(shapes, "decoder.up_blocks")[::-1]
  inputs = "encoder.conv_in.weight", "decoder.conv_in.weight"
  if not (encoder_widths and decoder_widths and all(name in shapes for name in inputs)):
    return None
  image, latent = (sizes(shapes, name, 4) for name in inputs)
  return {
      "image_channels": image[1],
      "latent_channels": latent[1],
      "encoder_widths": encoder_widths,
      "decoder_widths": decoder_widths,
      "num_blocks": _count(shapes, "encoder.down_blocks.0.resnets.{}.conv1.weight"),
      "attention": f"{_MIDDLE}.group_norm.weight" in shapes,
      "moments_conv": "quant_conv.weight" in shapes,
      "latent_conv": "post_quant_conv.weight" in shapes,
      "old_names": f"{_MIDDLE}.query.weight" in shapes,
  }


def config(architecture: dict[str, Any]) -> AutoencoderConfig:
  """The model of an architecture."""
  fields = {name: tuple(value) if isinstance(value, list) else value
            for name, value in architecture.items() if name != "old_names"}
  return AutoencoderConfig(**fields)


def entries(architecture: dict[str, Any]) -> list[Entry]:
  """The table of encoder and decoder."""
  model = config(architecture)
  table = []
  for side, widths, theirs in (("encoder", model.encoder_widths, "down_blocks"),
                               ("decoder", model.decoder_widths, "up_blocks")):
    levels = len(widths)
    order = range(levels) if side == "encoder" else reversed(range(levels))
    table += _conv(f"{side}.conv_in", f"{side}/conv_in")
    # The decoder widens as it climbs: its input has the coarsest width.
    before = widths[0] if side == "encoder" else widths[-1]
    for index, level in enumerate(order):
      for block in range(model.num_blocks + (side == "decoder")):
        table += _residual(f"{side}.{theirs}.{index}.resnets.{block}",
                           f"{side}/level_{level}_block_{block}", before != widths[level])
        before = widths[level]
      if index < levels - 1:
        sampler, ours = ("downsamplers", "down") if side == "encoder" else ("upsamplers", "up")
        table += _conv(f"{side}.{theirs}.{index}.{sampler}.0.conv",
                       f"{side}/level_{level}_{ours}")
    for block in range(2):
      table += _residual(f"{side}.mid_block.resnets.{block}", f"{side}/middle/block_{block}",
                         shortcut=False)
    if model.attention:
      table += _attention(side, _ATTENTION[architecture["old_names"]])
    table += _norm(f"{side}.conv_norm_out", f"{side}/norm_out")
    table += _conv(f"{side}.conv_out", f"{side}/conv_out")
  if model.moments_conv:
    table += _conv("quant_conv", "moments_conv")
  if model.latent_conv:
    table += _conv("post_quant_conv", "latent_conv")
  return table


def target_shapes(architecture: dict[str, Any]) -> Shapes:
  """Shapes of the model's parameters by path."""
  model = config(architecture)
  side = 2**(len(model.encoder_widths) - 1) * max(model.patch, 1)
  image = jax.ShapeDtypeStruct((1, side, side, model.image_channels), jnp.float32)
  params = jax.eval_shape(Autoencoder(model).init, jax.random.key(0), image)["params"]
  flat = flax.traverse_util.flatten_dict(params, sep="/")
  return {path: leaf.shape for path, leaf in flat.items()}


FAMILY = Family("autoencoder_kl", recognise, entries, target_shapes)


def _count(shapes, pattern):
  count = 0
  while pattern.format(count) in shapes:
    count += 1
  return count


def _widths(shapes, blocks):
  """Output channels of every level, in the order of the file.

  Raises:
    ValueError: not those of a convolution before a norm of _GROUPS groups.
  """
  pattern = blocks + ".{}.resnets.0.conv1.weight"
  names = [pattern.format(i) for i in range(_count(shapes, pattern))]
  for name in names:
    if sizes(shapes, name, 4)[0] % _GROUPS:
      raise ValueError(f"{name} {list(shapes[name])} has {shapes[name][0]} output channels, which "
                       f"{_GROUPS} groups do not divide")
  return [shapes[name][0] for name in names]


def _conv(theirs, ours):
  return [Entry(f"{theirs}.weight", f"{ours}/kernel", CONV),
          Entry(f"{theirs}.bias", f"{ours}/bias")]


def _norm(theirs, ours):
  return [Entry(f"{theirs}.weight", f"{ours}/scale"), Entry(f"{theirs}.bias", f"{ours}/bias")]


def _residual(theirs, ours, shortcut):
  table = []
  for i in range(2):
    table += _norm(f"{theirs}.norm{i + 1}", f"{ours}/norm_{i}")
    table += _conv(f"{theirs}.conv{i + 1}", f"{ours}/conv_{i}")
  return table + (_conv(f"{theirs}.conv_shortcut", f"{ours}/shortcut") if shortcut else [])


def _attention(side, names):
  theirs, ours = f"{side}.mid_block.attentions.0", f"{side}/middle/attention"
  table = _norm(f"{theirs}.group_norm", f"{ours}/norm")
  for name, our_name in zip(names, ("query", "key", "value", "out")):
    table += [Entry(f"{theirs}.{name}.weight", f"{ours}/{our_name}/kernel", linear()),
              Entry(f"{theirs}.{name}.bias", f"{ours}/{our_name}/bias")]
  return table
