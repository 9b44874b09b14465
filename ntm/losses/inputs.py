"""Frozen networks inside of an update: their parameters, and what they make of a batch.

An update reads a batch as the data source gives it, and the model one in its own terms: latents
in place of pixels. The networks between the two are never updated.
"""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax

from ntm.config import Config
from ntm.conversion import converter
from ntm.models import autoencoder
from ntm.typing import Array, PRNGKey

Batch = dict[str, Array]
_LATENT_NOISE = 2**31 - 1  # Folded into a key that losses split: no key of theirs.


@flax.struct.dataclass
class Frozen:
  """Parameters that an update reads and never changes; None for a network that a run lacks.

  Attributes:
    teacher: of the model that the loss compares with: the flow-matching model that an NTM starts
      from, or the NTM that a denoiser learns from.
    autoencoder: of `config.autoencoder.path`.
  """

  teacher: Any = None
  autoencoder: Any = None


def load(config: Config, teacher: Any = None) -> Frozen | None:
  """The frozen networks of a run, on the host; None if it has none.

  Args:
    config: of the run.
    teacher: parameters of the teacher, if there is one.

  Raises:
    ValueError: a network that is missing, damaged, of another family or does not fit the model.
  """
  if teacher is None and not config.autoencoder.path:
    return None
  return Frozen(teacher, _autoencoder(config))


def boxed_init(frozen: Frozen | None, config: Config,
               teacher: Callable | None = None) -> Callable:
  """rng → parameters of the shapes of `frozen`, boxed with their logical axes.

  Args:
    frozen: which networks there are.
    config: of the run.
    teacher: the same of the teacher alone, if there is one.
  """
  def init(rng):
    if frozen is None:
      return None
    return Frozen(
        teacher=None if frozen.teacher is None else teacher(rng),
        autoencoder=(None if frozen.autoencoder is None
                     else autoencoder.codec(config).init(rng)))

  return init


def encode(rng: PRNGKey, frozen: Frozen | None, batch: Batch, config: Config) -> Batch:
  """The batch as the model reads it: without an autoencoder, the same.

  Args:
    rng: key of the update, of which the noise is a function. It is not used up.
    frozen: the networks.
    batch: with "image", pixels [B, *Codec.image_shape], or the moments of their latents prepared
      ahead, "mean" and "std", [B, *Codec.moments_shape]. Both get the same noise.
    config: of the run.

  Returns:
    A batch whose "image" are latents, [B, *config.model.image_shape].
  """
  codec = autoencoder.codec(config)
  if codec is None:
    return batch
  if frozen is None or frozen.autoencoder is None:
    raise ValueError(f"config.autoencoder.path is {config.autoencoder.path}, but the task has no "
                     "frozen autoencoder; make it with frozen=ntm.losses.inputs.load(config).")
  rest = {name: value for name, value in batch.items() if name not in ("image", "mean", "std")}
  moments = ((batch["mean"], batch["std"]) if "mean" in batch
             else codec.moments(frozen.autoencoder, batch["image"]))
  rng = jax.random.fold_in(rng, _LATENT_NOISE)
  return rest | {"image": codec.latents(frozen.autoencoder, *moments, rng)}


def make_decoder(config: Config) -> Callable:
  """(frozen, [..., *config.model.image_shape]) → images: decoded latents, or the same."""
  codec = autoencoder.codec(config)
  if codec is None:
    return lambda frozen, images: images

  @jax.jit
  def decode(params, latents):
    flat = latents.reshape(-1, *latents.shape[-3:])
    return codec.decode(params, flat).reshape(*latents.shape[:-3], *codec.image_shape)

  return lambda frozen, latents: decode(frozen.autoencoder, latents)


def _autoencoder(config):
  """The parameters of `config.autoencoder.path` on the host; None without one."""
  path, codec = config.autoencoder.path, autoencoder.codec(config)
  if codec is None:
    return None
  try:
    return converter.read(path)[2]
  except FileNotFoundError as error:
    raise ValueError(
        f"config.autoencoder.path is {path}, but {error} Convert the autoencoder: "
        f"`ntm convert --family={'|'.join(autoencoder.FAMILIES)} --source=FILE --target={path}`."
    ) from error
