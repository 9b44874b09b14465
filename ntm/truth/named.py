"""The mixtures that a config can name.

  grid25        25 Gaussians on a 5 x 5 grid in [-1, 1]^2
  ring8         8 Gaussians on the circle of radius 1
  checkerboard  uniform on the 8 dark squares of a 4 x 4 board in [-1, 1]^2
  templates     drawn glyphs with pixel noise, `ntm.truth.templates`

A point of the plane is an "image" of shape (2, 1): one spatial axis of two
tokens with one channel.
"""

import numpy as np

from ntm.config import DataConfig
from ntm.truth import templates
from ntm.truth.mixtures import GaussianMixture, Mixture, UniformMixture


def build(data: DataConfig, image_shape: tuple[int, ...]) -> Mixture:
  """The distribution of images, flattened, of a checked config with data.source 'mixture'."""
  if data.mixture == "templates":
    glyphs = templates.glyphs(data.num_templates, image_shape[:2])
    return GaussianMixture(glyphs.reshape(len(glyphs), -1), data.noise)
  if data.mixture == "checkerboard":
    low = np.array([(row, column) for row in range(4) for column in range(4)
                    if (row + column) % 2 == 0]) / 2 - 1
    return UniformMixture(low, low + 0.5)
  if data.mixture == "grid25":
    axis = np.linspace(-1, 1, 5)
    return GaussianMixture(np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2), data.noise)
  angle = 2 * np.pi * np.arange(8) / 8
  return GaussianMixture(np.stack([np.cos(angle), np.sin(angle)], axis=-1), data.noise)
