"""The public interface: restored models that sample and score images."""

import logging
import os

import jax
from etils import epath

from ntm.api.density import Model
from ntm.api.placement import Placement
from ntm.api.velocity import VelocityModel
from ntm.config import MeshConfig
from ntm.training import checkpoint, frozen_record, teacher

__all__ = ["Model", "VelocityModel", "restore", "restore_density"]

_LOG = logging.getLogger("ntm")


def restore(workdir: str | os.PathLike, step: int | None = None,
            denoiser: str | os.PathLike | None = None, mesh: MeshConfig | None = None
            ) -> Model | VelocityModel:
  """Loads config and EMA parameters of a run.

  Args:
    workdir: directory that `ntm train` wrote.
    step: which checkpoint; None is the newest one that can be read.
    denoiser: directory that `ntm distill` wrote, for refine="denoiser"; None is
      workdir/denoiser, if there is one that fits.
    mesh: sizes of a mesh over all devices, for models that one device does not hold: parameters
      are read into their shards, and batches are split; all processes call it and the methods of
      the model. None is the default device.

  Returns:
    A `Model`; of a flow-matching run, a `VelocityModel`.

  Raises:
    FileNotFoundError: no run there, or no such complete checkpoint.
    ValueError: a checkpoint that cannot be read, the denoiser of another model, or an
      autoencoder that is missing or another one than the model was trained with.
  """
  placement = Placement(mesh)
  config, params, step = checkpoint.restore_ema(workdir, step, placement.abstract_params)
  params = jax.device_put(params) if mesh is None else params
  frozen = placement.load_frozen(config)
  frozen_record.check(workdir, config)
  if config.model.kind == "flow_matching":
    return VelocityModel(config, params, step, frozen, placement)
  learned, default = None, epath.Path(workdir) / "denoiser"
  if denoiser is not None:
    learned = teacher.restore(denoiser, config, params)
  elif default.is_dir():
    try:
      learned = teacher.restore(default, config, params)
    except (FileNotFoundError, ValueError) as error:
      _LOG.warning("no denoiser: %s", error)
  if learned:
    learned = (learned[0], placement.put_copies(learned[1]))
  return Model(config, params, step, learned, frozen, placement)


def restore_density(workdir: str | os.PathLike, step: int | None = None,
                    denoiser: str | os.PathLike | None = None) -> Model:
  """As `restore`, for what only a density can do.

  Raises:
    ValueError: also if the run is of flow matching.
  """
  model = restore(workdir, step, denoiser)
  if not isinstance(model, Model):
    raise ValueError(f"{workdir} holds a flow-matching model, which has no trajectory likelihood; "
                     "finetune it into an NTM first: finetune.source.")
  return model
