"""Checkpoints: Orbax, asynchronous, complete or ignored.

A step is written to a temporary directory and renamed once it is complete, so a
run killed at any moment leaves the previous steps intact. The items of a step are
params, ema (all that inference reads), rest (step, optimiser state, skipped
updates), iterator (data position), config, and checksums that are compared with
what is read. Steps written before checksums existed are read without comparison.
"""

import functools
import logging
import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint import checkpoint_managers

from ntm import checksums
from ntm import config as config_lib
from ntm.config import Config
from ntm.training import multihost, parameters, storage
from ntm.training import workdir as workdir_lib
from ntm.training.state import TrainState

_LOG = logging.getLogger("ntm")


class Checkpointer:
  """Saves and restores the checkpoints of one workdir."""

  def __init__(self, workdir: str | os.PathLike, config: Config,
               primary_metric: str = "nats_per_dim"):
    """Opens (or makes) workdir/checkpoints and removes half-written steps.

    Args:
      workdir: directory of the run.
      config: saved with every step; says how many of the newest steps are kept.
      primary_metric: the step with the smallest held_out/<primary_metric> is kept too.
    """
    self._config = config
    # A failed read from a disk means damage; a bucket may be unreachable for a while.
    self._read_pauses = storage.PAUSES if workdir_lib.is_bucket(workdir) else ()
    policy = checkpoint_managers.AnyPreservationPolicy([
        checkpoint_managers.LatestN(config.train.max_to_keep),
        checkpoint_managers.BestN(
            get_metric_fn=lambda metrics: metrics[f"held_out/{primary_metric}"], reverse=True, n=1,
            keep_checkpoints_without_metrics=False),
    ])
    self._manager = ocp.CheckpointManager(
        workdir_lib.checkpoints(workdir), options=ocp.CheckpointManagerOptions(
            preservation_policy=policy, cleanup_tmp_directories=True))
    self._attempts = storage.Attempts(self._manager)

  def save(self, state: TrainState, iterator_state: dict[str, Any],
           metrics: dict[str, float], wait: bool = False) -> None:
    """Starts an asynchronous save of `state.step`; does nothing if that step exists.

    A failed save is retried after growing pauses. A failure in the background is
    noticed only at the next save, when its state is gone; that next save is
    therefore waited for.

    Args:
      state: copied to the host before this returns.
      iterator_state: position of the data iterator, JSON.
      metrics: held-out metrics; may be empty.
      wait: whether to return only when the step is on disk.

    Raises:
      storage.StorageError: every attempt failed, or this process alone failed.
    """
    step, trees, failures = int(state.step), _trees(state), self._attempts.failures
    args = ocp.args.Composite(
        **{item: ocp.args.StandardSave(tree) for item, tree in trees.items()},
        iterator=ocp.args.JsonSave(iterator_state),
        config=ocp.args.JsonSave(config_lib.to_dict(self._config)),
        checksums=ocp.args.JsonSave(checksums.manifest(trees, iterator=iterator_state)))

    def write():
      if step not in self._manager.all_steps():
        self._manager.save(step, metrics=metrics or None, args=args)
      if wait or self._attempts.failures > failures:
        self._manager.wait_until_finished()

    _, error = self._attempts.once(self._manager.wait_until_finished,
                                   f"write the checkpoint before {step}")
    if error:
      _LOG.warning("the checkpoint before step %d could not be written (%s)", step, error)
    _, error = self._attempts.repeat(write, f"write checkpoint {step}")
    if error:
      raise storage.StorageError(
          f"checkpoint {step} cannot be written to {self._manager.directory} ({error}), in "
          f"{len(storage.PAUSES) + 1} attempts.")

  def restore_latest(self, abstract: TrainState) -> tuple[TrainState, dict[str, Any]] | None:
    """Restores the newest undamaged state in the layout of `abstract`.

    A step that is damaged or cannot be read (from a bucket: in several attempts) is
    logged, renamed to `<step>.corrupt`, and the step before it is tried.

    Args:
      abstract: shapes, types and shardings; may be of another mesh.

    Returns:
      (state, iterator state), or None if there is no checkpoint.

    Raises:
      ValueError: no checkpoint can be read, the parameters of the model are not those that were
        saved, or the processes see different checkpoints.
      storage.StorageError: this process alone cannot read one.
    """
    steps = _complete_steps(self._manager)
    for i, step in enumerate(steps):
      found, error = self._attempts.repeat(functools.partial(self._read, step, abstract),
                                           f"read checkpoint {step}", self._read_pauses)
      if not error:
        self._set_aside(steps[:i])
        return found
      parameters.check_step(epath.Path(self._manager.directory) / str(step), self._config,
                            abstract.params)
      _LOG.error("checkpoint %d cannot be read (%s); falling back to the one before.", step, error)
    if steps:
      raise ValueError(f"none of the checkpoints {steps} in {self._manager.directory} can be "
                       "read; restore a copy, or start again in a new workdir.")
    return None

  def close(self) -> None:
    """Waits for the last save, logs it if it fails, and releases the workdir."""
    _, error = self._attempts.once(self._manager.wait_until_finished,
                                   "write the last checkpoint")
    if error:
      _LOG.error("the last checkpoint could not be written (%s)", error)
    self._manager.close()

  def _read(self, step, abstract):
    """(state, iterator state) of one step, verified."""
    written = checksums.read_manifest(epath.Path(self._manager.directory) / str(step))
    items = self._manager.restore(step, args=ocp.args.Composite(
        **{item: ocp.args.StandardRestore(tree) for item, tree in _trees(abstract).items()},
        iterator=ocp.args.JsonRestore()))
    state = TrainState(params=items.params, ema=items.ema,
                       healthy=jax.device_put(np.bool_(True), abstract.healthy.sharding),
                       **items.rest)
    checksums.verify(written, _trees(state), iterator=items.iterator)
    return state, items.iterator

  def _set_aside(self, steps):
    """Renames unreadable steps to `<step>.corrupt`, so that they can be written again."""
    for step in steps:
      path = epath.Path(self._manager.directory) / str(step)
      if multihost.is_primary_process() and path.exists():
        path.rename(path.with_name(f"{step}.corrupt"))
    if steps:
      multihost.barrier("unreadable checkpoints are set aside")
      self._manager.reload()


def restore_ema(workdir: str | os.PathLike, step: int | None = None,
                abstract: Callable[[Config], Any] | None = None):
  """Restores config and averaged parameters of the run in `workdir`, for inference.

  Args:
    workdir: of `ntm train`.
    step: of the checkpoint; None for the newest undamaged one.
    abstract: config → shapes and shardings that the parameters are read into, or None.

  Returns:
    (config, params as NumPy arrays or in their shardings, step).

  Raises:
    FileNotFoundError: no run, no checkpoint, or not that step.
    ValueError: the checkpoint is damaged or cannot be read, or the code of an extension has
      changed, so that the model has other parameters.
  """
  config = workdir_lib.read(workdir)
  if config is None:
    raise FileNotFoundError(f"{workdir} holds no config.json; expected a workdir of `ntm train`. "
                            "Check the path; a converted model without one is loaded by "
                            "ntm.conversion.converter.load.")
  like = abstract(config) if abstract else None
  directory = workdir_lib.checkpoints(workdir)
  options = ocp.CheckpointManagerOptions(read_only=True, save_interval_steps=0, create=False)
  with storage.without_read_only_warning():
    manager = ocp.CheckpointManager(directory, options=options)
  with manager:
    steps = _complete_steps(manager)
    if not steps:
      raise FileNotFoundError(
          f"{workdir} has no checkpoint yet; repeat the command that began it, which saves one "
          f"every {config.train.checkpoint_every} updates (config.train.checkpoint_every).")
    candidates = [found for found in steps if step in (None, found)]
    if not candidates:
      raise FileNotFoundError(f"{workdir} has no checkpoint {step}; complete steps are "
                              f"{steps[::-1]}.")
    for candidate in candidates:
      ema, error = None, ""
      try:
        ema = _read_ema(manager, directory / str(candidate), like)
      except Exception as raised:  # As in `storage.Attempts`.
        error = storage.summary(raised)
        storage.ignore_abandoned_reads()
      # An error on any process makes all of them skip the step.
      error = next(filter(None, multihost.allgather_strings(error)), "")
      if not error:
        if candidate != candidates[0]:
          _LOG.warning("using checkpoint %d of %s instead of %d.", candidate, workdir, steps[0])
        parameters.check_extensions(workdir, config, ema)
        return config, ema, candidate
      if len(candidates) > 1:
        _LOG.error("checkpoint %d of %s cannot be read (%s).", candidate, workdir, error)
  if step is None:
    raise ValueError(f"none of the checkpoints {steps[::-1]} of {workdir} can be read ({error}); "
                     "restore a copy of one.")
  raise ValueError(f"checkpoint {step} of {workdir} cannot be read ({error}); restore a copy, or "
                   f"choose another of {steps[::-1]}.")


def _read_ema(manager, directory, like):
  """Averaged parameters of one step, verified."""
  written = checksums.read_manifest(directory)
  if written is None:
    _LOG.warning("%s was written without checksums, and is not verified.", directory)
  if like is not None:
    ema = manager.restore(int(directory.name), args=ocp.args.Composite(
        ema=ocp.args.StandardRestore(like))).ema
    checksums.verify(written, {"ema": ema})
    return ema
  # As NumPy: the devices of the run may not exist here.
  tree = ocp.StandardCheckpointHandler().metadata(directory / "ema").tree
  as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
  ema = manager.restore(int(directory.name), args=ocp.args.Composite(
      ema=ocp.args.PyTreeRestore(restore_args=as_numpy))).ema
  checksums.verify(written, {"ema": ema})
  return ema


def _complete_steps(manager) -> list[int]:
  """Complete steps, newest first; ValueError if the processes see different ones."""
  steps = sorted(manager.all_steps(), reverse=True)
  seen = multihost.allgather_strings(str(steps))
  if len(set(seen)) > 1:
    raise ValueError(f"the processes see different checkpoints in {manager.directory}: "
                     f"{', '.join(seen)}; all must share the workdir.")
  return steps


def _trees(state):
  """The arrays of a state, by item of the checkpoint."""
  return {"params": state.params, "ema": state.ema,
          "rest": {"step": state.step, "opt_state": state.opt_state, "skipped": state.skipped}}
