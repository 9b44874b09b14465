"""Images to the moments of their latents, by a converted autoencoder on this process's devices."""

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ntm.config import MeshConfig
from ntm.conversion import converter, record
from ntm.models import autoencoder
from ntm.models.autoencoder import FAMILIES
from ntm.nn import partitioning
from ntm.published.autoencoders import mapping_kl
from ntm.published.autoencoders.model import Autoencoder

_UNUSED = ("decoder", "latent_conv")  # Parameters that only decoding needs.
_CROP = "centre, bicubic"  # Of ntm.data.images.


def settings(directory: str | os.PathLike, image_size: int) -> dict[str, Any]:
  """What identifies the moments of an image, JSON; the weights are not read.

  Args:
    directory: target of `ntm convert`.
    image_size: side of the images.

  Raises:
    ValueError: the directory was not converted, is damaged or of another family, or the size
      does not fit.
  """
  try:
    made = record.read(directory)
  except FileNotFoundError as error:
    raise ValueError(f"--autoencoder is {directory}, but {error} Convert one: `ntm convert "
                     f"--family={'|'.join(FAMILIES)} --source=... --target={directory}`."
                     ) from error
  family = made["family"]
  if family not in FAMILIES:
    raise ValueError(f"--autoencoder is {directory}, of family {family!r}; expected one of "
                     f"{', '.join(FAMILIES)}.")
  config = mapping_kl.config(made["architecture"])
  if config.image_channels != 3:
    raise ValueError(f"--autoencoder is {directory}, of images with {config.image_channels} "
                     "channels; expected 3.")
  patch, multiple = max(config.patch, 1), autoencoder.factor(config)
  if image_size % multiple:
    raise ValueError(f"--image_size is {image_size}; expected a multiple of {multiple} for this "
                     "autoencoder.")
  side = image_size // multiple
  return {
      "autoencoder": {"family": family, "checksum": converter.checksum(directory)},
      "image_size": image_size, "crop": _CROP, "dtype": "float16",
      "latent_shape": [side * patch, side * patch, config.latent_channels],
      # What a model sees, after the family's patches, scale and shift.
      "model_shape": [side, side, config.latent_channels * patch**2]}


class Encoder:
  """The encoder of an autoencoder, a copy on each local device.

  Attributes:
    image_size: side of the images.
    batch_size: images at a time, over the devices.
    latent_shape: (h, w, c) of the moments.
  """

  def __init__(self, directory: str | os.PathLike, image_size: int, batch_size: int):
    """Loads the autoencoder.

    Args:
      directory: target of `ntm convert`.
      image_size: side of the images.
      batch_size: images at a time, a multiple of the local devices.

    Raises:
      ValueError: as `settings`, or the batch size does not fit.
    """
    self.latent_shape = tuple(settings(directory, image_size)["latent_shape"])
    devices = jax.local_devices()
    if batch_size % len(devices):
      raise ValueError(f"--batch_size is {batch_size}; expected a multiple of the {len(devices)} "
                       "devices of a process.")
    self.image_size, self.batch_size = image_size, batch_size
    self._mesh = partitioning.make_mesh(MeshConfig(), devices)
    _, architecture, params = converter.load(directory)
    params = {name: part for name, part in params.items() if name not in _UNUSED}
    self._params = jax.device_put(params, partitioning.replicated(self._mesh))
    module = Autoencoder(mapping_kl.config(architecture))

    def moments(params, images):
      """Images [B, H, W, 3] and their mirror images → [B, 2, 2, h, w, c] float16."""
      def one(images):
        mean, logvar = module.apply({"params": params}, images, method="encode")
        return jnp.stack([mean, jnp.exp(0.5 * logvar)], axis=1)

      # One after the other: a program and memory for one.
      both = jax.lax.map(one, jnp.stack([images, images[:, :, ::-1]]))
      return both.swapaxes(0, 1).astype(jnp.float16)

    self._moments = jax.jit(moments, out_shardings=partitioning.batch_sharding(self._mesh))

  def start(self, images: list[np.ndarray]) -> jax.Array:
    """Starts to encode at most batch_size images; the devices work on while Python goes on.

    Returns:
      float16 [batch_size, 2 (image, mirror), 2 (mean, std), h, w, c], of which the first
      len(images) count.
    """
    batch = np.zeros((self.batch_size, *images[0].shape), np.float32)  # One program for all sizes.
    batch[:len(images)] = images
    return self._moments(self._params, partitioning.put_batch(self._mesh, batch))
