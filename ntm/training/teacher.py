"""teacher.json in a denoiser's workdir: identifies the teacher the denoiser belongs to."""

import json
import os

import jax
import numpy as np
from etils import epath

from ntm import config as config_lib
from ntm.config import Config
from ntm.models import build
from ntm.training import checkpoint, multihost
from ntm.training import workdir as workdir_lib


def fingerprint(params) -> dict[str, list[float]]:
  """A few entries of every parameter, which identify a teacher; all processes call this."""
  leaves = jax.tree_util.tree_leaves_with_path(params)
  first = lambda leaf: np.asarray(multihost.to_host(leaf.reshape(-1)[:4]), np.float64)
  return {jax.tree_util.keystr(path): first(leaf).tolist() for path, leaf in leaves}


def write(workdir: str | os.PathLike, teacher: str, step: int, params) -> None:
  """Writes teacher.json into a denoiser's workdir, on the primary process; all call this."""
  record = {"teacher": os.fspath(teacher), "step": step, "fingerprint": fingerprint(params)}
  if not multihost.is_primary_process():
    return
  path = epath.Path(workdir)
  path.mkdir(parents=True, exist_ok=True)
  (path / workdir_lib.TEACHER_FILE).write_text(json.dumps(record, indent=1) + "\n")


def check(workdir: str | os.PathLike, params) -> None:
  """Raises ValueError unless the denoiser in `workdir` was distilled from these parameters."""
  path = epath.Path(workdir) / workdir_lib.TEACHER_FILE
  if not path.exists():
    raise ValueError(f"{workdir} holds no {path.name}: not a workdir of `ntm distill`.")
  try:
    record = json.loads(path.read_text())
    theirs = record["fingerprint"]
  except (ValueError, KeyError, TypeError) as error:
    raise ValueError(f"{path} is damaged ({error!r}); restore it from a copy, or distil into "
                     "another --workdir.") from error
  if theirs != fingerprint(params):
    raise ValueError(
        f"the denoiser in {workdir} was distilled from step {record['step']} of "
        f"{record['teacher']}, whose parameters are not those of this model; run `ntm distill` "
        "for it, or restore that step.")


def restore(workdir: str | os.PathLike, teacher_config: Config, teacher_params):
  """Restores (denoiser, its averaged parameters); errors as `checkpoint.restore_ema`, `check`."""
  config, params, _ = checkpoint.restore_ema(workdir)
  check(workdir, teacher_params)
  return build.denoiser(join(config, teacher_config)), jax.device_put(params)


def check_kind(workdir: str | os.PathLike, config: Config) -> None:
  """Raises ValueError unless the run in `workdir` is an NTM; only an NTM has a score."""
  if config.model.kind != "ntm":
    raise ValueError(f"{workdir} holds a model of kind {config.model.kind!r}; only an NTM can "
                     "teach a denoiser.")


def join(config: Config, teacher_config: Config) -> Config:
  """The config of a distillation: model, process, data, autoencoder and texts of the teacher."""
  values = config_lib.to_dict(config)
  teacher = config_lib.to_dict(teacher_config)
  return config_lib.from_dict(
      values | {key: teacher[key] for key in ("model", "process", "data", "autoencoder", "text")})
