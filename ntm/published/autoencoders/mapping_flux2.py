"""The autoencoder of FLUX.2, in diffusers' layout.

That of Stable Diffusion with 32 latent channels, and the statistics of a batch
normalisation of its 2x2 patches.
"""

import math
from typing import Any

from ntm.conversion.mapping import Entry, Family, Shapes, sizes
from ntm.published.autoencoders import mapping_kl


def recognise(shapes: Shapes) -> dict[str, Any] | None:
  """The architecture, or None if the file holds another model."""
  if "bn.running_mean" not in shapes:
    return None
  architecture = mapping_kl.read_architecture(shapes)
  if architecture is None:
    return None
  patch = math.isqrt(sizes(shapes, "bn.running_mean", 1)[0] // architecture["latent_channels"])
  return architecture | {"patch": patch}


def entries(architecture: dict[str, Any]) -> list[Entry]:
  """The table of encoder, decoder and statistics."""
  return [*mapping_kl.entries(architecture),
          Entry("bn.running_mean", "latent_mean"), Entry("bn.running_var", "latent_var")]


def ignored(architecture: dict[str, Any]) -> dict[str, str]:
  """The count of training batches, which only a running average needs."""
  del architecture  # The same for all.
  return {"bn.num_batches_tracked": "a count of training batches"}


FAMILY = Family("autoencoder_flux2", recognise, entries, mapping_kl.target_shapes, ignored)
