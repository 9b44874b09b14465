"""Frozen networks of a restored model: between pixels or prompts and what the model reads."""

import jax
import jax.numpy as jnp
import numpy as np

from ntm.api import batching, checks
from ntm.config import Config
from ntm.losses import inputs, task
from ntm.losses.inputs import Frozen
from ntm.models import autoencoder
from ntm.typing import Condition


class FrozenNetworks:
  """Autoencoder and text encoder of a restored model; without them, all stays as it is.

  Attributes:
    shape: of an image, [H, W, C].
  """

  def __init__(self, config: Config, frozen: Frozen | None):
    codec = autoencoder.codec(config)
    self._config, self._frozen, self._decode = config, frozen, inputs.make_decoder(config)
    self._encode = None if codec is None else jax.jit(
        lambda params, images: codec.normalise(params, codec.moments(params, images)[0]))
    self.shape = config.model.image_shape if codec is None else codec.image_shape

  def decode(self, latents: jax.Array) -> jax.Array:
    """Images of what the model draws, [B, *shape]."""
    return self._decode(self._frozen, latents)

  def condition(self, cond: Condition | None, size: int) -> Condition | None:
    """The condition of `size` samples, repeated from its first rows, as the model reads it."""
    if cond is None or cond.ids_BM is None or not self._config.text.encoder:
      return batching.fill(cond, size)
    texts = {"ids": jnp.asarray(cond.ids_BM), "mask": jnp.asarray(cond.mask_BM)}
    found = task.condition(inputs.encode_text(self._frozen, texts, self._config), self._config)
    return jax.tree.map(lambda a: jnp.resize(a, (size, *a.shape[1:])), found)

  def encode(self, images) -> np.ndarray:
    """Checked images as the model reads them, float32; of pixels, the mean of their latents.

    Args:
      images: [B, *shape], or latents, [B, *config.model.image_shape].

    Raises:
      ValueError: as `checks.images`.
    """
    images = checks.images(self._config, images, self.shape)
    if self._encode is None or images.shape[1:] == self._config.model.image_shape:
      return images
    size = min(len(images), batching.SIZE)
    parts = [self._encode(self._frozen.autoencoder,
                          jnp.asarray(batching.fill(images[start:start + size], size)))
             for start in range(0, len(images), size)]
    return np.concatenate([np.asarray(part) for part in parts])[:len(images)]
