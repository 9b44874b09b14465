"""Checkpoints: Orbax, asynchronous, complete or ignored.

A step is written to a temporary directory and renamed when whole, so a run
killed at any moment leaves the previous steps intact. Items of one step:
params, ema, rest (step, optimiser), iterator (data position) and config.
Inference reads ema alone.
"""

import json
import logging
import os
import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from ntm import config as config_lib
from ntm.config import Config
from ntm.training.state import TrainState

_LOG = logging.getLogger("ntm")


class Checkpointer:
  """Saves and restores the checkpoints of one workdir."""

  def __init__(self, workdir: str | os.PathLike, config: Config, headline: str = "nats_per_dim"):
    """Opens (or makes) workdir/checkpoints and clears half-written steps.

    Args:
      workdir: directory of the run.
      config: written with every step; `keep_last` and the best are kept.
      headline: the best step is that of the smallest held_out/<headline>.
    """
    self._config = config
    policy = checkpoint_managers.AnyPreservationPolicy([
        checkpoint_managers.LatestN(config.train.keep_last),
        checkpoint_managers.BestN(get_metric_fn=lambda metrics: metrics[f"held_out/{headline}"],
                                  reverse=True, n=1,
                                  keep_checkpoints_without_metrics=False),
    ])
    self._manager = ocp.CheckpointManager(
        _directory(workdir), options=ocp.CheckpointManagerOptions(
            preservation_policy=policy, cleanup_tmp_directories=True))

  def save(self, state: TrainState, iterator_state: dict[str, Any],
           metrics: dict[str, float]) -> None:
    """Starts an asynchronous save of `state.step`; does nothing if it exists.

    Args:
      state: copied to the host before this returns.
      iterator_state: of the data iterator, JSON.
      metrics: held-out figures, if any; the best is kept.
    """
    step = int(state.step)
    if step in self._manager.all_steps():
      return
    rest = {"step": state.step, "opt_state": state.opt_state}
    self._manager.save(step, metrics=metrics or None, args=ocp.args.Composite(
        params=ocp.args.StandardSave(state.params), ema=ocp.args.StandardSave(state.ema),
        rest=ocp.args.StandardSave(rest), iterator=ocp.args.JsonSave(iterator_state),
        config=ocp.args.JsonSave(config_lib.to_dict(self._config))))

  def restore_latest(self, abstract: TrainState) -> tuple[TrainState, dict[str, Any]] | None:
    """The newest state that can be read, laid out as `abstract` asks.

    A step that cannot be read is reported, set aside as `<step>.corrupt`, and
    the one before it tried.

    Args:
      abstract: shapes, types and shardings; may be of another mesh.

    Returns:
      (state, iterator state), or None if there is no checkpoint.

    Raises:
      ValueError: checkpoints exist, but none can be read.
    """
    steps = sorted(self._manager.all_steps(), reverse=True)
    args = ocp.args.Composite(
        params=ocp.args.StandardRestore(abstract.params),
        ema=ocp.args.StandardRestore(abstract.ema),
        rest=ocp.args.StandardRestore(
            {"step": abstract.step, "opt_state": abstract.opt_state}),
        iterator=ocp.args.JsonRestore())
    unreadable = []
    for step in steps:
      try:
        items = self._manager.restore(step, args=args)
      except Exception as error:  # Whatever a damaged file raises inside the readers.
        _LOG.error("checkpoint %d cannot be read (%s); falling back to the one before.",
                   step, _first_line(error))
        unreadable.append(step)
        continue
      self._set_aside(unreadable)
      state = TrainState(step=items.rest["step"], healthy=jax.numpy.bool_(True),
                         params=items.params, ema=items.ema, opt_state=items.rest["opt_state"])
      return state, items.iterator
    if steps:
      raise ValueError(f"none of the checkpoints {steps} in {self._manager.directory} can be "
                       "read; restore a copy, or start again in a new workdir.")
    return None

  def wait(self) -> None:
    """Returns when the save under way is on disk."""
    self._manager.wait_until_finished()

  def close(self) -> None:
    """Waits and releases the workdir."""
    self._manager.close()

  def _set_aside(self, steps):
    for step in steps:
      directory = pathlib.Path(self._manager.directory) / str(step)
      if jax.process_index() == 0 and directory.exists():
        directory.rename(directory.with_name(f"{step}.corrupt"))
    if steps:
      self._manager.reload()


def restore_ema(workdir: str | os.PathLike, step: int | None = None):
  """Config and averaged parameters of a run, for inference.

  Args:
    workdir: directory of the run.
    step: which checkpoint; None is the newest that can be read.

  Returns:
    (config, params, step).

  Raises:
    FileNotFoundError: no run, no checkpoint, or not that step.
    ValueError: the checkpoint asked for cannot be read.
  """
  config = read_config(workdir)
  if config is None:
    raise FileNotFoundError(f"{workdir} holds no config.json: not a workdir of `ntm train`.")
  options = ocp.CheckpointManagerOptions(read_only=True)
  with ocp.CheckpointManager(_directory(workdir), options=options) as manager:
    steps = sorted(manager.all_steps(), reverse=True)
    if not steps or (step is not None and step not in steps):
      raise FileNotFoundError(f"{workdir} has no checkpoint{'' if step is None else f' {step}'}; "
                              f"complete steps are {steps[::-1]}.")
    for candidate in steps if step is None else [step]:
      try:
        items = manager.restore(
            candidate, args=ocp.args.Composite(ema=ocp.args.StandardRestore()))
        return config, items.ema, candidate
      except Exception as error:
        _LOG.error("checkpoint %d cannot be read (%s).", candidate, _first_line(error))
  raise ValueError(f"checkpoint {candidate} of {workdir} cannot be read; see the log.")


def prepare_workdir(workdir: str | os.PathLike, config: Config) -> None:
  """Makes the workdir and writes config.json, or checks the one that is there.

  Raises:
    ValueError: the workdir was written with another model, or cannot be written.
  """
  written = read_config(workdir)
  if written is not None:
    changes = _differences(config_lib.to_dict(written), config_lib.to_dict(config))
    fatal = [c for c in changes if c.startswith(("model.", "denoiser.", "process.num_steps"))
             and not c.startswith(("model.remat", "model.unroll", "model.dtype", "model.inverse"))]
    if fatal:
      raise ValueError(f"{workdir} was written with another model: {'; '.join(fatal)}. "
                       "Use that config, or a new workdir.")
    for change in changes:
      _LOG.warning("resuming with another config: %s", change)
  path = _config_path(workdir)
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(config_lib.to_dict(config), indent=2) + "\n")
    partial.replace(path)
  except OSError as error:
    raise ValueError(f"workdir {workdir} cannot be written ({error.strerror}); choose "
                     "another --workdir or change its permissions.") from error


def read_config(workdir: str | os.PathLike) -> Config | None:
  """The config of a workdir, or None if it has none."""
  path = _config_path(workdir)
  return config_lib.from_dict(json.loads(path.read_text())) if path.exists() else None


def _config_path(workdir):
  return pathlib.Path(workdir) / "config.json"


def _directory(workdir):
  return pathlib.Path(workdir).absolute() / "checkpoints"


def _first_line(error):
  return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"


def _differences(old, new, prefix=""):
  changes = []
  for key in sorted(set(old) | set(new)):
    a, b = old.get(key), new.get(key)
    if isinstance(a, dict) and isinstance(b, dict):
      changes += _differences(a, b, f"{prefix}{key}.")
    elif a != b:
      changes.append(f"{prefix}{key} is {b!r}, was {a!r}")
  return changes
