"""Frozen networks inside of an update: their parameters, and what they make of a batch.

An update reads a batch as the data source gives it, and the model one in its own terms: latents
in place of pixels, features of texts in place of token ids. The networks between the two are
never updated.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
from jax.sharding import Mesh

from ntm.config import Config
from ntm.conversion import converter, record
from ntm.models import autoencoder, prompt_encoder
from ntm.nn import partitioning
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
    text_encoder: of `config.text.encoder`, without the layers that are not read.
  """

  teacher: Any = None
  autoencoder: Any = None
  text_encoder: Any = None


def load(config: Config, teacher: Any = None, mesh: Mesh | None = None) -> Frozen | None:
  """The frozen networks of a run; None if it has none.

  Args:
    config: of the run.
    teacher: parameters of the teacher, if there is one; they stay where they are.
    mesh: over which autoencoder and text encoder are split as all parameters are: each process
      reads its own part, and all call this. None reads them to the host.

  Raises:
    ValueError: a network that is missing, damaged, of another family or does not fit the model,
      or a parameter that the mesh does not split evenly.
  """
  codec, encoder = autoencoder.codec(config), prompt_encoder.encoder(config)
  if teacher is None and codec is None and encoder is None:
    return None
  return Frozen(
      teacher,
      None if codec is None else _read(config, "autoencoder", codec.init, mesh),
      None if encoder is None else _chosen_layers(
          encoder, _read(config, "text_encoder", encoder.init_all_layers, mesh), mesh))


def missing(config: Config) -> dict[str, str]:
  """{path: what to do} of the frozen networks of a run that are not there; reads no weights."""
  found = {}
  for name, (_, path) in paths(config).items():
    try:
      record.read(path)
    except FileNotFoundError as error:
      found[path] = _absent(config, name, error)
  return found


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
                     else autoencoder.codec(config).init(rng)),
        text_encoder=(None if frozen.text_encoder is None
                      else prompt_encoder.encoder(config).init(rng)))

  return init


def encode(rng: PRNGKey, frozen: Frozen | None, batch: Batch, config: Config) -> Batch:
  """The batch as the model reads it: without an autoencoder and a text encoder, the same.

  Args:
    rng: key of the update, of which the noise is a function. It is not used up.
    frozen: the networks.
    batch: with "image", pixels [B, *Codec.image_shape], or the moments of their latents prepared
      ahead, "mean" and "std", [B, *Codec.moments_shape]. Both get the same noise. With a text
      encoder, with "ids" [B, M] and "mask" [B, M].
    config: of the run.

  Returns:
    A batch whose "image" are latents, [B, *config.model.image_shape], and whose "text" are
    features [B, M, W] in place of token ids.
  """
  batch = encode_text(frozen, batch, config)
  codec = autoencoder.codec(config)
  if codec is None:
    return batch
  _require(frozen, config, "autoencoder")
  rest = {name: value for name, value in batch.items() if name not in ("image", "mean", "std")}
  moments = ((batch["mean"], batch["std"]) if "mean" in batch
             else codec.moments(frozen.autoencoder, batch["image"]))
  rng = jax.random.fold_in(rng, _LATENT_NOISE)
  return rest | {"image": codec.latents(frozen.autoencoder, *moments, rng)}


def encode_text(frozen: Frozen | None, batch: Batch, config: Config) -> Batch:
  """The batch with features [B, M, W] as "text" in place of "ids" and "mask", if there are any.

  With `config.text.lengths` the mask stays: the model does not attend to padding.
  """
  encoder = prompt_encoder.encoder(config)
  if encoder is None or "ids" not in batch:
    return batch
  _require(frozen, config, "text_encoder")
  read = ("ids",) if config.text.lengths else ("ids", "mask")
  rest = {name: value for name, value in batch.items() if name not in read}
  return rest | {"text": _features(encoder, frozen.text_encoder, batch["ids"], batch["mask"])}


@functools.partial(jax.jit, static_argnums=0)
def _features(encoder, params, ids_BM, mask_BM):
  return encoder.features(params, ids_BM, mask_BM)


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


def paths(config: Config) -> dict[str, tuple[str, str]]:
  """{field of `Frozen`: (key of the config, workdir)} of the networks that a config names."""
  named = {"autoencoder": ("autoencoder.path", config.autoencoder.path),
           "text_encoder": ("text.encoder", config.text.encoder)}
  return {name: (key, path) for name, (key, path) in named.items() if path}


def _read(config, name, init, mesh):
  """The parameters of a converted network, of the shapes of `init`; on the host without a mesh."""
  try:
    return converter.read(paths(config)[name][1], _shardings(init, mesh))[2]
  except FileNotFoundError as error:
    raise ValueError(_absent(config, name, error)) from error


def _absent(config, name, error) -> str:
  """The message for a network that is not there."""
  key, path = paths(config)[name]
  families = {"autoencoder": autoencoder, "text_encoder": prompt_encoder}[name].FAMILIES
  return (f"config.{key} is {path}, but {error} Convert the network: `ntm convert "
          f"--family={'|'.join(families)} --source=... --target={path}`.")


def _chosen_layers(encoder, params, mesh):
  """The parameters that a text encoder reads, where those of all its layers are."""
  if mesh is None:
    return encoder.of_all_layers(params)
  return jax.jit(encoder.of_all_layers, out_shardings=_shardings(encoder.init, mesh))(params)


def _shardings(init, mesh):
  """Where a mesh has the parameters that `init` makes; None without one."""
  if mesh is None:
    return None
  pieces = partitioning.in_pieces(mesh, jax.eval_shape(init, jax.random.key(0)))
  return jax.tree.map(lambda leaf: leaf.sharding, pieces)


def _require(frozen, config, name):
  """Raises ValueError unless a network is there."""
  if getattr(frozen, name, None) is None:
    key, path = paths(config)[name]
    raise ValueError(f"config.{key} is {path}, but the task has no frozen {name}; make it with "
                     "frozen=ntm.losses.inputs.load(config).")
