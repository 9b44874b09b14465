"""Checkpoints: Orbax, asynchronous, complete or ignored.

A step is written to a temporary directory and renamed when whole, so a run
killed at any moment leaves the previous steps intact. Items of one step:
params, ema (all that inference reads), rest (step, optimiser, skipped), iterator (data
position), config and checksums, with which what is read is compared if a step has them.
"""

import logging
import os
import time
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint import checkpoint_managers

from ntm import checksums
from ntm import config as config_lib
from ntm.config import Config
from ntm.training import checkpoint_steps as steps_lib
from ntm.training import multihost
from ntm.training import workdir as workdir_lib
from ntm.training.state import TrainState

_LOG = logging.getLogger("ntm")
_PAUSES = (1, 5, 25)  # Seconds before what failed is tried again.
_LINE = 200  # Characters of an error of storage that a message quotes.


class StorageError(OSError):
  """A checkpoint cannot be written, however often tried, or one process alone cannot use it."""


class Checkpointer:
  """Saves and restores the checkpoints of one workdir."""

  def __init__(self, workdir: str | os.PathLike, config: Config,
               primary_metric: str = "nats_per_dim"):
    """Opens (or makes) workdir/checkpoints and clears half-written steps.

    Args:
      workdir: directory of the run.
      config: written with every step; `keep_last` and the best are kept.
      primary_metric: the best step is that of the smallest held_out/<primary_metric>.
    """
    self._config, self._failures = config, 0
    # What cannot be read from a disk is damaged; a bucket may be out of reach for a while.
    self._read_pauses = _PAUSES if "://" in os.fspath(workdir) else ()
    policy = checkpoint_managers.AnyPreservationPolicy([
        checkpoint_managers.LatestN(config.train.keep_last),
        checkpoint_managers.BestN(
            get_metric_fn=lambda metrics: metrics[f"held_out/{primary_metric}"], reverse=True, n=1,
            keep_checkpoints_without_metrics=False),
    ])
    self._manager = ocp.CheckpointManager(
        steps_lib.directory(workdir), options=ocp.CheckpointManagerOptions(
            preservation_policy=policy, cleanup_tmp_directories=True))

  def save(self, state: TrainState, iterator_state: dict[str, Any],
           metrics: dict[str, float], wait: bool = False) -> None:
    """Starts an asynchronous save of `state.step`; does nothing if it exists.

    A save that fails is tried again, after growing pauses. Of one that fails in
    the background the state is gone by the time this is known, at the next save:
    that one is then waited for, so that it cannot be lost like this.

    Args:
      state: copied to the host before this returns.
      iterator_state: of the data iterator, JSON.
      metrics: held-out figures, if any; the best is kept.
      wait: return when it is on disk.

    Raises:
      StorageError: every attempt failed, or this process alone did.
    """
    step, trees = int(state.step), _trees(state)
    args = ocp.args.Composite(
        **{item: ocp.args.StandardSave(tree) for item, tree in trees.items()},
        iterator=ocp.args.JsonSave(iterator_state),
        config=ocp.args.JsonSave(config_lib.to_dict(self._config)),
        checksums=ocp.args.JsonSave(checksums.manifest(trees, iterator=iterator_state)))

    def write():
      if step not in self._manager.all_steps():
        self._manager.save(step, metrics=metrics or None, args=args)
      if wait:
        self._manager.wait_until_finished()

    error = self._attempt(self._manager.wait_until_finished, f"write the one before {step}")
    if error:
      _LOG.warning("the checkpoint before step %d could not be written (%s)", step, error)
      wait = True
    for pause in (*_PAUSES, None):
      error = self._attempt(write, f"write {step}")
      if not error:
        return
      if pause is None:
        raise StorageError(f"checkpoint {step} cannot be written to {self._manager.directory} "
                           f"({error}), in {len(_PAUSES) + 1} attempts.")
      _LOG.warning("checkpoint %d could not be written (%s); trying again in %d s", step, error,
                   pause)
      time.sleep(pause)
      wait = True
      self._manager.reload()

  def restore_latest(self, abstract: TrainState) -> tuple[TrainState, dict[str, Any]] | None:
    """The newest state that is as it was written, laid out as `abstract` asks.

    A step that is damaged or cannot be read, from a bucket several times, is reported,
    set aside as `<step>.corrupt`, and the one before it tried.

    Args:
      abstract: shapes, types and shardings; may be of another mesh.

    Returns:
      (state, iterator state), or None if there is no checkpoint.

    Raises:
      ValueError: checkpoints exist, but none can be read; or processes see
        different ones.
      StorageError: this process alone cannot read one.
    """
    steps = steps_lib.complete(self._manager)
    unreadable = []
    for step in steps:
      found = []
      for pause in (*self._read_pauses, None):
        error = self._attempt(lambda step=step, found=found: found.append(
            self._read(step, abstract)), f"read {step}")
        if not error or pause is None:
          break
        _LOG.warning("checkpoint %d cannot be read (%s); trying again in %d s", step, error, pause)
        time.sleep(pause)
      if error:
        _LOG.error("checkpoint %d cannot be read (%s); falling back to the one before.",
                   step, error)
        unreadable.append(step)
        continue
      steps_lib.set_aside(self._manager, unreadable)
      return found[0]
    if steps:
      raise ValueError(f"none of the checkpoints {steps} in {self._manager.directory} can be "
                       "read; restore a copy, or start again in a new workdir.")
    return None

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

  def close(self) -> None:
    """Waits and releases the workdir; a save that fails by then is logged."""
    error = self._attempt(self._manager.wait_until_finished, "write the last one")
    if error:
      _LOG.error("the last checkpoint could not be written (%s)", error)
    self._manager.close()

  def _attempt(self, action, aim: str) -> str:
    """What went wrong; nothing if all went well.

    Raises:
      StorageError: it went wrong here and not on the other processes, which now
        wait inside Orbax for this one.
    """
    try:
      action()
      return ""
    except Exception as raised:  # Whatever storage or a damaged file raises inside Orbax.
      error = _first_line(raised)
    self._failures += 1
    if not multihost.all_come(f"failure {self._failures} in {self._manager.directory}"):
      raise StorageError(
          f"of the checkpoints in {self._manager.directory} process {jax.process_index()} alone "
          f"cannot {aim} ({error}). Mend its storage, or rename what it cannot read to "
          "<step>.corrupt, and start again: the run resumes.")
    return error


def restore_ema(workdir: str | os.PathLike, step: int | None = None):
  """Config and averaged parameters of the run in `workdir`, for inference.

  Args:
    workdir: of `ntm train`.
    step: which checkpoint; None is the newest that is as it was written.

  Returns:
    (config, params as NumPy arrays, step).

  Raises:
    FileNotFoundError: no run, no checkpoint, or not that step.
    ValueError: the checkpoint asked for is damaged or cannot be read.
  """
  config = workdir_lib.read(workdir)
  if config is None:
    raise FileNotFoundError(f"{workdir} holds no config.json; expected a workdir of `ntm train`. "
                            "Check the path; a converted model without one is loaded by "
                            "ntm.conversion.converter.load.")
  options = ocp.CheckpointManagerOptions(read_only=True, save_interval_steps=0, create=False)
  with ocp.CheckpointManager(steps_lib.directory(workdir), options=options) as manager:
    steps = steps_lib.complete(manager)
    if not steps or (step is not None and step not in steps):
      raise FileNotFoundError(f"{workdir} has no checkpoint{'' if step is None else f' {step}'}; "
                              f"complete steps are {steps[::-1]}.")
    candidates = steps if step is None else [step]
    for candidate in candidates:
      found, error = None, ""
      try:
        found = _read_ema(manager, steps_lib.directory(workdir) / str(candidate))
      except Exception as raised:  # Whatever storage or a damaged file raises inside Orbax.
        error = _first_line(raised)
        steps_lib.ignore_abandoned_reads()
      # All processes take the same step.
      error = next(filter(None, multihost.texts_of_all(error)), "")
      if not error:
        if candidate != candidates[0]:
          _LOG.warning("using checkpoint %d of %s instead of %d.", candidate, workdir, steps[0])
        return config, found, candidate
      if len(candidates) > 1:
        _LOG.error("checkpoint %d of %s cannot be read (%s).", candidate, workdir, error)
  if step is None:
    raise ValueError(f"none of the checkpoints {steps[::-1]} of {workdir} can be read ({error}); "
                     "restore a copy of one.")
  raise ValueError(f"checkpoint {step} of {workdir} cannot be read ({error}); restore a copy, or "
                   f"choose another of {steps[::-1]}.")


def _read_ema(manager, directory):
  """Averaged parameters of one step, verified."""
  written = checksums.read_manifest(directory)
  if written is None:
    _LOG.warning("%s was written without checksums, and is not verified.", directory)
  # As NumPy: the devices that the run had may not be here.
  tree = ocp.StandardCheckpointHandler().metadata(directory / "ema").tree
  as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
  ema = manager.restore(int(directory.name), args=ocp.args.Composite(
      ema=ocp.args.PyTreeRestore(restore_args=as_numpy))).ema
  checksums.verify(written, {"ema": ema})
  return ema


def _trees(state):
  """The arrays of a state by item."""
  return {"params": state.params, "ema": state.ema,
          "rest": {"step": state.step, "opt_state": state.opt_state, "skipped": state.skipped}}


def _first_line(error):
  line = str(error).strip().partition("\n")[0].partition(" [tensorstore_spec")[0]
  line = line if len(line) <= _LINE else f"{line[:_LINE]}..."
  return line if isinstance(error, checksums.DamagedError) else f"{type(error).__name__}: {line}"
