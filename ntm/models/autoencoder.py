"""The autoencoder of a run, between pixels and the latents that the model reads.

With the moments of the encoder's Gaussian and noise eps ~ N(0, 1), an image becomes

  x = normalise(mean + std eps),

where `normalise` is the scale or the statistics of the autoencoder's family, see
`ntm.published.autoencoders.model`. Images are encoded and decoded some at a time, so that the
memory does not grow with the batch.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp

from ntm.config import Config
from ntm.conversion import record
from ntm.nn import rounds
from ntm.nn.numerics import Numerics
from ntm.published.autoencoders import mapping_kl
from ntm.published.autoencoders import model as published
from ntm.typing import Array, PRNGKey

FAMILIES = ("autoencoder_kl", "autoencoder_flux2")
_PIXELS = 2**19  # Per device at a time: eight images of 256 x 256.
# By channels of the latents: where the weights are missing, the sizes are those published.
_PUBLISHED = {
    4: published.AutoencoderConfig(),
    128: published.AutoencoderConfig(latent_channels=32, patch=2),
}


@dataclasses.dataclass(frozen=True)
class Codec:
  """Pure functions of an autoencoder's parameters. Parameters and pixels are never learned here.

  Attributes:
    module: the autoencoder.
    image_shape: of the images, (H, W, 3).
    moments_shape: of mean and standard deviation, (h, w, channels).
  """

  module: published.Autoencoder
  image_shape: tuple[int, ...]
  moments_shape: tuple[int, ...]

  def init(self, rng: PRNGKey):
    """Parameters of random values; boxed where they have logical axes."""
    return self.module.init(rng, jnp.zeros((1, *self.image_shape)))["params"]

  def moments(self, params, image: Array) -> tuple[Array, Array]:
    """(mean, standard deviation) of the latents of images, float32 [B, *moments_shape].

    Args:
      params: of the autoencoder.
      image: [B, *image_shape] in [-1, 1].
    """
    def encode(image):
      mean, logvar = self.module.apply({"params": params}, image, method="encode")
      return mean.astype(jnp.float32), jnp.exp(logvar.astype(jnp.float32) / 2)

    return rounds.in_rounds(encode, image, self._images_at_a_time())

  def latents(self, params, mean: Array, std: Array, rng: PRNGKey) -> Array:
    """A draw of the latents as the model sees them, float32.

    Args:
      params: of the autoencoder.
      mean: [B, *moments_shape], as `moments` gives it.
      std: the same.
      rng: of the noise.
    """
    mean = mean.astype(jnp.float32)
    draw = mean + std.astype(jnp.float32) * jax.random.normal(rng, mean.shape)
    return self.normalise(params, draw)

  def normalise(self, params, raw: Array) -> Array:
    """Latents as the model sees them, of raw ones, [B, *moments_shape]."""
    return self.module.apply({"params": params}, raw, method="normalise")

  def decode(self, params, latents: Array) -> Array:
    """Images of latents as the model sees them, float32 within [-1, 1], [B, *image_shape]."""
    def decode(latents):
      image = self.module.apply({"params": params}, latents, method="denormalise_and_decode")
      return jnp.clip(image.astype(jnp.float32), -1, 1)

    return rounds.in_rounds(decode, latents, self._images_at_a_time())

  def _images_at_a_time(self):
    return _PIXELS // math.prod(self.image_shape[:2])


def codec(config: Config) -> Codec | None:
  """The autoencoder of a run; None without one. Its weights need not be there.

  Without a directory at `config.autoencoder.path` its sizes are those of the published
  autoencoder whose latents have the channels of the model, so that programs can be compiled.

  Raises:
    ValueError: another family, or latents that are not those of the model.
  """
  path, shape = config.autoencoder.path, config.model.image_shape
  if not path:
    return None
  try:
    made = record.read(path)
    if made["family"] not in FAMILIES:
      raise ValueError(f"config.autoencoder.path is {path}, which holds a model of the family "
                       f"{made['family']!r}; expected one of {', '.join(FAMILIES)}.")
    sizes = mapping_kl.config(made["architecture"])
  except FileNotFoundError:
    if shape[2] not in _PUBLISHED:
      raise ValueError(
          f"config.autoencoder.path is {path}, which does not exist, and no published autoencoder "
          f"has the {shape[2]} channels of config.model.image_shape {shape}; expected the target "
          "of `ntm convert`.") from None
    sizes = _PUBLISHED[shape[2]]
  patch = max(sizes.patch, 1)
  if shape[2] != sizes.latent_channels * patch**2:
    raise ValueError(
        f"config.model.image_shape is {shape}, but the latents of the autoencoder in {path} have "
        f"{sizes.latent_channels * patch**2} channels; set it to (height, width, "
        f"{sizes.latent_channels * patch**2}), with the height of the images over "
        f"{factor(sizes)}.")
  side = factor(sizes)
  dtype = jnp.dtype(config.model.dtype)
  return Codec(
      published.Autoencoder(sizes, Numerics(dtype, jnp.promote_types(dtype, jnp.float32))),
      image_shape=(shape[0] * side, shape[1] * side, sizes.image_channels),
      moments_shape=(shape[0] * patch, shape[1] * patch, sizes.latent_channels))


def factor(sizes: published.AutoencoderConfig) -> int:
  """Pixels per entry of the latents that the model sees, along each side."""
  return 2**(len(sizes.encoder_widths) - 1) * max(sizes.patch, 1)


def image_shape(config: Config) -> tuple[int, ...]:
  """Shape of an image of the data: the model's, or that of the pixels which become its latents."""
  found = codec(config)
  return config.model.image_shape if found is None else found.image_shape
