"""The autoencoder of Stable Diffusion and SiT, in diffusers' layout.

The scale of the latents is not in the file. A model of four channels gets that of Stable
Diffusion 1 and 2, 0.18215; SDXL's autoencoder has the same shapes and 0.13025, which must be
set in `AutoencoderConfig`. Other models get 1.
"""

from typing import Any

import jax
import jax.numpy as jnp

from ntm.conversion.families import Family
from ntm.conversion.layer_entries import conv, linear, norm
from ntm.conversion.mapping import Entry
from ntm.conversion.shapes import Shapes, checked_shape, count_layers, parameter_shapes
from ntm.published.autoencoders.model import Autoencoder, AutoencoderConfig

# Names of query, key, value and output: today's, and those of files from before 2023.
_ATTENTION = (("to_q", "to_k", "to_v", "to_out.0"), ("query", "key", "value", "proj_attn"))
_GROUPS = 32  # Of all known models; not in the shapes.
_MIDDLE = "encoder.mid_block.attentions.0"


def recognise(shapes: Shapes) -> dict[str, Any] | None:
  """Fields of `AutoencoderConfig` and "old_names", or None for another model."""
  architecture = read_architecture(shapes)
  if architecture is None or any(name.startswith("bn.") for name in shapes):
    return None
  return architecture | {"scale": 0.18215 if architecture["latent_channels"] == 4 else 1.0}


def read_architecture(shapes: Shapes) -> dict[str, Any] | None:
  """Fields of `AutoencoderConfig` that both families of autoencoders share, and "old_names".

  Raises:
    ValueError: channels that the groups of the normalisation do not divide.
  """
  encoder_widths = _widths(shapes, "encoder.down_blocks")
  decoder_widths = _widths(shapes, "decoder.up_blocks")[::-1]
  inputs = "encoder.conv_in.weight", "decoder.conv_in.weight"
  if not (encoder_widths and decoder_widths and all(name in shapes for name in inputs)):
    return None
  image, latent = (checked_shape(shapes, name, 4) for name in inputs)
  return {
      "image_channels": image[1],
      "latent_channels": latent[1],
      "encoder_widths": encoder_widths,
      "decoder_widths": decoder_widths,
      "num_blocks": count_layers(shapes, "encoder.down_blocks.0.resnets.{i}.conv1.weight"),
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
  """The mapping of encoder and decoder."""
  model, old_names = config(architecture), architecture["old_names"]
  levels = range(len(model.encoder_widths))
  found = [*_half("encoder", "down", model.encoder_widths, levels, model.num_blocks),
           *_half("decoder", "up", model.decoder_widths, levels[::-1], model.num_blocks + 1)]
  for side in ("encoder", "decoder"):
    found += [entry for block in range(2) for entry in _residual(
        f"{side}.mid_block.resnets.{block}", f"{side}/middle/block_{block}", shortcut=False)]
    if model.attention:
      found += _attention(side, _ATTENTION[old_names])
  if model.moments_conv:
    found += conv("quant_conv", "moments_conv")
  if model.latent_conv:
    found += conv("post_quant_conv", "latent_conv")
  return found


def target_shapes(architecture: dict[str, Any]) -> Shapes:
  """Shapes of the model's parameters by path."""
  model = config(architecture)
  side = 2**(len(model.encoder_widths) - 1) * max(model.patch, 1)
  image = jax.ShapeDtypeStruct((1, side, side, model.image_channels), jnp.float32)
  return parameter_shapes(Autoencoder(model).init, image)


FAMILY = Family("autoencoder_kl", recognise, entries, target_shapes)


def _widths(shapes, blocks):
  """Output channels of every level, in the order of the file."""
  pattern = blocks + ".{i}.resnets.0.conv1.weight"
  widths = []
  for i in range(count_layers(shapes, pattern)):
    name = pattern.replace("{i}", str(i))
    widths.append(checked_shape(shapes, name, 4)[0])
    if widths[-1] % _GROUPS:
      raise ValueError(f"{name} {list(shapes[name])} has {widths[-1]} output channels, which "
                       f"{_GROUPS} groups do not divide")
  return widths


def _half(side, direction, widths, levels, num_blocks):
  """Encoder or decoder without its middle, the levels in the order of the file."""
  found = [*conv(f"{side}.conv_in", f"{side}/conv_in"),
           *norm(f"{side}.conv_norm_out", f"{side}/norm_out"),
           *conv(f"{side}.conv_out", f"{side}/conv_out")]
  before = widths[levels[0]]
  for i, level in enumerate(levels):
    theirs, ours = f"{side}.{direction}_blocks.{i}", f"{side}/level_{level}"
    for block in range(num_blocks):
      found += _residual(f"{theirs}.resnets.{block}", f"{ours}_block_{block}",
                         shortcut=before != widths[level])
      before = widths[level]
    if level != levels[-1]:
      found += conv(f"{theirs}.{direction}samplers.0.conv", f"{ours}_{direction}")
  return found


def _residual(theirs, ours, shortcut):
  found = conv(f"{theirs}.conv_shortcut", f"{ours}/shortcut") if shortcut else []
  for i in range(2):
    found += norm(f"{theirs}.norm{i + 1}", f"{ours}/norm_{i}")
    found += conv(f"{theirs}.conv{i + 1}", f"{ours}/conv_{i}")
  return found


def _attention(side, names):
  theirs, ours = f"{side}.mid_block.attentions.0", f"{side}/middle/attention"
  found = norm(f"{theirs}.group_norm", f"{ours}/norm")
  for name, our_name in zip(names, ("query", "key", "value", "out")):
    found += linear(f"{theirs}.{name}", f"{ours}/{our_name}")
  return found
