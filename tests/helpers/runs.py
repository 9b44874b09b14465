"""Tiny runs as their commands write them, and commands called in this process."""

import contextlib
import hashlib
import importlib
import io
import pathlib
import sys
from unittest import mock

import jax
import numpy as np
from absl.testing import flagsaver

from ntm import config as config_lib
from ntm.losses import distillation, flow_matching, inputs, task
from ntm.nn import partitioning
from ntm.training import checkpoint, frozen_record
from ntm.training import state as state_lib
from ntm.training import teacher as teacher_lib
from ntm.training import workdir as workdir_lib
from tests.helpers import tiny

_NET = {"layers": 1, "width": 8, "num_heads": 2, "num_kv_heads": 2}
_DIGITS = {
    "model": {"patch_shape": (8, 8), "transporter": _NET | {"num_blocks": 1}, "predictor": _NET},
    "process": {"num_steps": (2,)},
    "denoiser": _NET,
    "optimizer": {"warmup_steps": 0},
    "train": {"steps": 4, "batch_size": 64},
}


def config(data=None, text=None, **model) -> config_lib.Config:
  """A model of one token per digit, or with sections of other data and texts."""
  return config_lib.from_dict(_DIGITS | {"model": _DIGITS["model"] | model, "data": data or {},
                                         "text": text or {}})


def mesh(run: config_lib.Config) -> jax.sharding.Mesh:
  """One device."""
  return partitioning.make_mesh(run.mesh, jax.devices()[:1])


def state(run: config_lib.Config) -> state_lib.TrainState:
  """A first state of a run, as `filled`."""
  return _state(_task(run), run)


def write_config(path: pathlib.Path) -> None:
  """The same config as a file for --config."""
  values = config_lib.to_dict(config())
  path.write_text(f"import ml_collections\ndef get_config():\n"
                  f"  return ml_collections.ConfigDict({values!r}).lock()\n")


def write(workdir: pathlib.Path, run: config_lib.Config, step: int = 3, teacher=None) -> None:
  """A run with one checkpoint; with the workdir of a teacher, the run of its denoiser."""
  if teacher:
    _, params, teacher_step = checkpoint.restore_ema(teacher)
    what = distillation.distill(run, inputs.load(run, params))
    teacher_lib.write(workdir, teacher, teacher_step, params)
  else:
    what = _task(run)
  state = _state(what, run)
  workdir_lib.prepare(workdir, run)
  frozen_record.write(workdir, run)
  checkpointer = checkpoint.Checkpointer(workdir, run, what.primary_metric)
  checkpointer.save(state.replace(step=state.step + step), {"next_index": step}, {}, wait=True)
  checkpointer.close()


def _task(run):
  make_task = flow_matching.velocity if run.model.kind == "flow_matching" else task.density
  return make_task(run, inputs.load(run))


def _state(what, run):
  return filled(state_lib.abstract_state(what, run, mesh(run)))


def filled(abstract: state_lib.TrainState) -> state_lib.TrainState:
  """A first state of these shapes and shardings, with random parameters; nothing is compiled."""
  zeros = jax.tree.map(lambda a: jax.device_put(np.zeros(a.shape, a.dtype), a.sharding), abstract)
  filled = tiny.fill(abstract.params)
  # Twice, as a step that donates its state needs: copies on devices are compiled.
  params, ema = (jax.tree.map(lambda a, like: jax.device_put(np.asarray(a), like.sharding),
                              filled, abstract.params) for _ in range(2))
  healthy = jax.device_put(np.bool_(True), abstract.healthy.sharding)
  return zeros.replace(params=params, ema=ema, healthy=healthy)


def tree(directory: pathlib.Path) -> dict[str, str]:
  """Every path below a directory with the digest of its content."""
  return {str(path.relative_to(directory)):
          hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "directory"
          for path in sorted(directory.rglob("*"))}


def call(command: str, *arguments: object) -> tuple[int, str]:
  """(exit code, stderr) of `ntm <command> <arguments>`, run in this process."""
  module = importlib.import_module(f"ntm.commands.{command}")
  argv = [f"ntm {command}", *map(str, arguments)]
  sys.modules.pop("config_config", None)  # The config file of a call before.
  saved, stderr = flagsaver.save_flag_values(module.FLAGS), io.StringIO()
  try:
    with (mock.patch.object(sys, "argv", argv), contextlib.redirect_stderr(stderr),
          contextlib.redirect_stdout(io.StringIO())):
      module.run(argv)
    return 0, stderr.getvalue()
  except SystemExit as done:
    return done.code or 0, stderr.getvalue()
  finally:
    flagsaver.restore_flag_values(saved, module.FLAGS)
