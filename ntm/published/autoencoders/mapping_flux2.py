"""The autoencoder of FLUX.2, in diffusers' layout.

It is Stable Diffusion's with 32 latent channels and the statistics of a batch normalisation
of 2x2 patches of latents.
"""

import math
from typing import Any

from ntm.conversion.families import Family
from ntm.conversion.mapping import Entry
from ntm.conversion.shapes import Shapes, checked_shape
from ntm.published.autoencoders import mapping_kl


def recognise(shapes: Shapes) -> dict[str, Any] | None:
  """Fields of `AutoencoderConfig` and "old_names", or None for another model."""
  if "bn.running_mean" not in shapes:
    return None
  architecture = mapping_kl.read_architecture(shapes)
  if architecture is None:
    return None
  (channels,) = checked_shape(shapes, "bn.running_mean", 1)
  return architecture | {"patch": math.isqrt(channels // architecture["latent_channels"])}


def entries(architecture: dict[str, Any]) -> list[Entry]:
  """The mapping of encoder, decoder and statistics."""
  return [*mapping_kl.entries(architecture),
          Entry("bn.running_mean", "latent_mean"), Entry("bn.running_var", "latent_var")]


def ignored(architecture: dict[str, Any]) -> dict[str, str]:
  """The count of training batches, which only a running average needs."""
  del architecture
  return {"bn.num_batches_tracked": "a count of training batches"}


FAMILY = Family("autoencoder_flux2", recognise, entries, mapping_kl.target_shapes, ignored)
