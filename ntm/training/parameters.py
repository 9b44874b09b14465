"""Whether saved parameters are those of the model, whose code may have changed since."""

import json
import os
from collections.abc import Mapping

import flax.linen as nn
import flax.traverse_util
import jax
from etils import epath

from ntm import checksums
from ntm.config import Config, extension
from ntm.losses import task
from ntm.models import build
from ntm.training import multihost
from ntm.training import workdir as workdir_lib

_NAMED = 5  # Parameters that an error names.

Shapes = Mapping[str, tuple[int, ...]]


def shapes(params) -> dict[str, tuple[int, ...]]:
  """{name: shape} of a tree of arrays, names as in "transporter/log_tail"."""
  return {name: tuple(leaf.shape)
          for name, leaf in flax.traverse_util.flatten_dict(params, sep="/").items()}


def of_model(config: Config) -> dict[str, tuple[int, ...]]:
  """{name: shape} of the parameters that the model of a config has today."""
  if config.model.kind == "flow_matching":
    init = task.velocity_init(config)
  else:
    model = build.ntm(config)
    init = lambda rng: model.init(rng, task.example(config), method="log_prob")["params"]
  return shapes(nn.unbox(jax.eval_shape(init, jax.random.key(0))))


def changes(saved: Shapes, model: Shapes) -> str:
  """Describes how the parameters of a model differ from saved ones; empty if they do not."""
  found = [f"{name} {list(saved[name])} is gone" if name not in model
           else f"{name} {list(model[name])} is new" if name not in saved
           else f"{name} is {list(model[name])}, was {list(saved[name])}"
           for name in sorted(saved.keys() | model.keys()) if saved.get(name) != model.get(name)]
  more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
  return ", ".join(found[:_NAMED]) + more


def check_step(directory: epath.Path, config: Config, params) -> None:
  """Checks a step of a run that cannot be read: because its parameters are others? Collective.

  Args:
    directory: of the step.
    config: of the run.
    params: of the model, which may be shapes.

  Raises:
    ValueError: the step is of other parameters.
  """
  try:
    arrays = checksums.read_manifest(directory)["arrays"]["params"]
    saved = {name: shape for name, (_, shape, _) in arrays.items()}
  except (checksums.DamagedError, OSError, KeyError, TypeError, ValueError):
    saved = {}  # Damaged, or of before there were manifests.
  saved = json.loads(max(multihost.allgather_strings(json.dumps(saved)), key=len))
  if saved:
    _require_same(directory.parent.parent, config,
                  {name: tuple(shape) for name, shape in saved.items()}, shapes(params))


def check_extensions(workdir: str | os.PathLike, config: Config, params) -> None:
  """Raises ValueError if a model with extensions has other parameters than these, of its run."""
  in_model = any(key.startswith("model.") for key in extension.named_in(config))
  # A denoiser's run has its teacher's model in its config, and parameters of its own.
  if in_model and not (epath.Path(workdir) / workdir_lib.TEACHER_FILE).exists():
    _require_same(workdir, config, shapes(params), of_model(config))


def _require_same(workdir, config, saved, model):
  """Raises ValueError unless a model has the parameters that were saved."""
  if found := changes(saved, model):
    paths = [repr(path) for path in extension.named_in(config).values()]
    raise ValueError(
        f"the model of {workdir} has other parameters than its checkpoint: {found}. The code of "
        f"{' or '.join([*paths, 'ntm'])} has changed since; bring back the code that the run was "
        "trained with, or start in a new workdir.")
