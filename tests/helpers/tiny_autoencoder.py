"""Runs on latents of autoencoders small enough to compile in a second, converted as users do."""

import functools
import pathlib
import tempfile

import jax
import numpy as np
import safetensors.torch

from ntm import config as config_lib
from ntm.conversion import converter, families
from ntm.losses import inputs
from tests.helpers import autoencoder_pair, tiny

# Of pixels (8, 8, 3): the grids of the latents that a model sees.
_SHAPES = {"kl": (4, 4, 4), "flux2": (2, 2, 32)}


@functools.cache
def converted(which: str) -> pathlib.Path:
  """Directory of a converted autoencoder with random weights; do not write into it."""
  root = pathlib.Path(tempfile.mkdtemp())
  safetensors.torch.save_file(autoencoder_pair.theirs(which).state_dict(), root / "a.safetensors")
  family = families.get(autoencoder_pair.MODELS[which][1])
  converter.convert(family, root / "a.safetensors", root / which)
  return root / which


def config(which: str = "kl", **changes) -> config_lib.Config:
  """A tiny NTM of the latents of 8 x 8 RGB images."""
  return tiny.config(**{
      "autoencoder__path": str(converted(which)), "model__image_shape": _SHAPES[which],
      "model__patch_shape": (1, 1)} | changes)


@functools.cache
def frozen(which: str) -> inputs.Frozen:
  """Its frozen networks."""
  return jax.device_put(inputs.load(config(which)))


def batch(size: int, seed: int = 0) -> dict[str, np.ndarray]:
  """Random images and classes."""
  rng = np.random.default_rng(seed)
  return {"image": rng.uniform(-1, 1, (size, 8, 8, 3)).astype(np.float32),
          "label": rng.integers(0, 3, size).astype(np.int32)}
