"""Convolutional autoencoders between images and latents: those of Stable Diffusion and FLUX.2.

An encoder gives the mean and log-variance of a Gaussian over latents, a decoder
goes back. Both are residual convolutions at falling and rising resolution, with
one attention layer at the lowest. Their weights come from `ntm convert`, families
`autoencoder_kl` and `autoencoder_flux2`.

Generative models see latents y of about unit variance in place of x:

  Stable Diffusion   y = scale x
  FLUX.2             y = (patches(x) - mean) / sqrt(var + 1e-4)

where a patch of p x p latents is laid out channel by channel, (c, row, column),
and mean and var are the running statistics of a batch normalisation, weights
like the others.
"""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp

from ntm.nn.convolution import Middle, ResidualBlock, group_norm
from ntm.nn.numerics import Numerics
from ntm.typing import Array

_STATISTICS_EPSILON = 1e-4


@dataclasses.dataclass(frozen=True)
class AutoencoderConfig:
  """Shape of an autoencoder; the defaults are those of Stable Diffusion 1 and SiT.

  Attributes:
    image_channels: of the image.
    latent_channels: of the latent, on a grid 2^(levels - 1) times coarser.
    encoder_widths: channels at every level, finest first.
    decoder_widths: the same for the decoder, finest first too.
    num_blocks: residual blocks a level in the encoder; one more in the decoder.
    attention: a layer of it at the coarsest level.
    moments_conv: a 1x1 convolution after the encoder.
    latent_conv: a 1x1 convolution before the decoder.
    num_groups: of the group normalisations.
    scale: of the latents a generative model sees; unused with `patch`.
    patch: side p of the standardised patches; 0 for a fixed scale.
  """

  image_channels: int = 3
  latent_channels: int = 4
  encoder_widths: tuple[int, ...] = (128, 256, 512, 512)
  decoder_widths: tuple[int, ...] = (128, 256, 512, 512)
  num_blocks: int = 2
  attention: bool = True
  moments_conv: bool = True
  latent_conv: bool = True
  num_groups: int = 32
  scale: float = 0.18215
  patch: int = 0


class Autoencoder(nn.Module):
  """Images to latents and back.

  Attributes:
    config: its shape.
    numerics: types.
  """

  config: AutoencoderConfig
  numerics: Numerics = Numerics()

  def setup(self):
    """Encoder, decoder and what stands between them and the latents."""
    config, types = self.config, self.numerics.products
    common = dict(num_blocks=config.num_blocks, attention=config.attention,
                  num_groups=config.num_groups, numerics=self.numerics)
    self.encoder = Encoder(config.encoder_widths, 2 * config.latent_channels, **common)
    self.decoder = Decoder(config.decoder_widths, config.image_channels, **common)
    if config.moments_conv:
      self.moments_conv = nn.Conv(2 * config.latent_channels, (1, 1), **types)
    if config.latent_conv:
      self.latent_conv = nn.Conv(config.latent_channels, (1, 1), **types)
    if config.patch:
      shape = (config.patch**2 * config.latent_channels,)
      self.latent_mean = self.param("latent_mean", nn.initializers.zeros_init(), shape,
                                    self.numerics.param_dtype)
      self.latent_var = self.param("latent_var", nn.initializers.ones_init(), shape,
                                   self.numerics.param_dtype)

  def __call__(self, image: Array) -> Array:
    """The image decoded from the mean of its latents; for initialisation.

    Args:
      image: [B, height, width, image_channels] in [-1, 1].
    """
    mean, _ = self.encode(image)
    return self.denormalise_and_decode(self.normalise(mean))

  def encode(self, image: Array) -> tuple[Array, Array]:
    """The Gaussian over latents, as the encoder gives it.

    Args:
      image: [B, height, width, image_channels] in [-1, 1]; sides divisible by
        2^(levels - 1).

    Returns:
      (mean, logvar), each [B, height', width', latent_channels]; logvar within
      [-30, 20].
    """
    moments = self.encoder(image)
    if self.config.moments_conv:
      moments = self.moments_conv(moments)
    mean, logvar = jnp.split(moments, 2, axis=-1)
    return mean, jnp.clip(logvar, -30.0, 20.0)

  def decode(self, latent: Array) -> Array:
    """The image of latents, about [-1, 1] and not clipped.

    Args:
      latent: [B, height', width', latent_channels], as `encode` gives them.
    """
    return self.decoder(self.latent_conv(latent) if self.config.latent_conv else latent)

  def normalise(self, latent: Array) -> Array:
    """Latents as a generative model sees them.

    Args:
      latent: [B, height', width', latent_channels], as `encode` gives them.

    Returns:
      The same shape, or [B, height'/p, width'/p, latent_channels p²].
    """
    if not self.config.patch:
      return latent * self.config.scale
    mean, deviation = self._statistics()
    return (to_patches(latent, self.config.patch) - mean) / deviation

  def denormalise(self, latent: Array) -> Array:
    """The inverse of `normalise`."""
    if not self.config.patch:
      return latent / self.config.scale
    mean, deviation = self._statistics()
    return from_patches(latent * deviation + mean, self.config.patch)

  def denormalise_and_decode(self, latent: Array) -> Array:
    """The image of latents as `normalise` gives them."""
    return self.decode(self.denormalise(latent))

  def _statistics(self):
    mean, var = self.latent_mean.astype(jnp.float32), self.latent_var.astype(jnp.float32)
    return mean, jnp.sqrt(var + _STATISTICS_EPSILON)


def to_patches(latent: Array, patch: int) -> Array:
  """[B, h p, w p, C] → [B, h, w, C p²], a patch laid out (channel, row, column)."""
  batch, height, width, channels = latent.shape
  split = latent.reshape(batch, height // patch, patch, width // patch, patch, channels)
  return split.transpose(0, 1, 3, 5, 2, 4).reshape(*split.shape[:2], split.shape[3], -1)


def from_patches(patches: Array, patch: int) -> Array:
  """The inverse of `to_patches`."""
  batch, height, width, _ = patches.shape
  split = patches.reshape(batch, height, width, -1, patch, patch)
  return split.transpose(0, 1, 4, 2, 5, 3).reshape(batch, height * patch, width * patch, -1)


class Encoder(nn.Module):
  """Image → moments of the latents, channels finest first in `widths`."""

  widths: tuple[int, ...]
  features: int
  num_blocks: int
  attention: bool
  num_groups: int
  numerics: Numerics

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """[B, height, width, channels] → [B, height', width', features]."""
    types = self.numerics.products
    common = dict(num_groups=self.num_groups, numerics=self.numerics)
    x = nn.Conv(self.widths[0], (3, 3), name="conv_in", **types)(x)
    for level, width in enumerate(self.widths):
      for block in range(self.num_blocks):
        x = ResidualBlock(width, name=f"level_{level}_block_{block}", **common)(x)
      if level < len(self.widths) - 1:
        # Unlike a padded convolution elsewhere: zeros below and to the right alone.
        x = nn.Conv(width, (3, 3), strides=2, padding=((0, 1), (0, 1)),
                    name=f"level_{level}_down", **types)(x)
    x = Middle(self.attention, name="middle", **common)(x)
    x = nn.silu(group_norm("norm_out", **common)(x))
    return nn.Conv(self.features, (3, 3), name="conv_out", **types)(x)


class Decoder(nn.Module):
  """Latents → image, channels finest first in `widths`."""

  widths: tuple[int, ...]
  features: int
  num_blocks: int
  attention: bool
  num_groups: int
  numerics: Numerics

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """[B, height', width', channels] → [B, height, width, features]."""
    types = self.numerics.products
    common = dict(num_groups=self.num_groups, numerics=self.numerics)
    x = nn.Conv(self.widths[-1], (3, 3), name="conv_in", **types)(x)
    x = Middle(self.attention, name="middle", **common)(x)
    for level, width in reversed(list(enumerate(self.widths))):
      for block in range(self.num_blocks + 1):
        x = ResidualBlock(width, name=f"level_{level}_block_{block}", **common)(x)
      if level > 0:
        x = x.repeat(2, axis=1).repeat(2, axis=2)
        x = nn.Conv(width, (3, 3), name=f"level_{level}_up", **types)(x)
    x = nn.silu(group_norm("norm_out", **common)(x))
    return nn.Conv(self.features, (3, 3), name="conv_out", **types)(x)
