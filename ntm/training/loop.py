"""The training loop: data in, checkpoints, metrics and pictures out.

The loop never waits for the step it has just dispatched, except to log: the
device works on step i while the host fetches batch i + 1.
"""

import datetime
import functools
import logging
import os
import signal
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from ntm.config import Config
from ntm.inference import pictures
from ntm.process import schedule
from ntm.training import checkpoint, sharding
from ntm.training import metrics as metrics_lib
from ntm.training import state as state_lib
from ntm.training import step as step_lib
from ntm.training.task import Task

_LOG = logging.getLogger("ntm")
_FIRST_SAMPLES_AT = 0.15  # of sample_every: something to look at early on


class DataIterator(Protocol):
  """Batches of {"image": float32 [-1, 1], "label": int32}, resumable."""

  def __next__(self) -> dict[str, np.ndarray]: ...

  def get_state(self) -> dict[str, Any]:
    """The position, JSON."""

  def set_state(self, state: dict[str, Any]) -> None:
    """Continues from a position."""


class NonFiniteError(RuntimeError):
  """The loss or its gradient was NaN or infinite."""


def prepare(config: Config, workdir: str | os.PathLike) -> Mesh:
  """Checks all that can be checked before any long work; writes config.json.

  Args:
    config: of the run.
    workdir: made if needed.

  Returns:
    The mesh of the run.

  Raises:
    ValueError: sizes that do not fit the devices, levels that do not ascend, a
      workdir of another model or that cannot be written.
  """
  mesh = sharding.make_mesh(config.mesh)
  sharding.check_batch(config.train.batch_size, config.train.accumulation, mesh)
  process = config.process
  for num_steps in process.num_steps:
    for t_min in (process.t_min, process.t_min_high):
      schedule.padded_times(process.schedule, num_steps, num_steps, t_min,
                            config.model.num_tokens)
  checkpoint.prepare_workdir(workdir, config)
  return mesh


def train(task: Task, config: Config, workdir: str | os.PathLike, iterator: DataIterator,
          held_out: Iterable[dict[str, np.ndarray]]) -> None:
  """Trains to config.train.steps, from the newest checkpoint if there is one.

  Args:
    task: what is trained.
    config: of the run.
    workdir: gets config.json, checkpoints/, metrics.jsonl, samples/, curves.png.
    iterator: batches of this process's share of config.train.batch_size.
    held_out: batches for the held-out likelihood; may be empty.

  Raises:
    ValueError: as `prepare`, or checkpoints none of which can be read.
    NonFiniteError: after saving the last good state.
  """
  mesh = prepare(config, workdir)
  checkpointer = checkpoint.Checkpointer(workdir, config, task.headline)
  restored = checkpointer.restore_latest(state_lib.abstract_state(task, config, mesh))
  if restored is None:
    state = state_lib.init_state(task, config, mesh)
    if task.pretrained is not None:
      state = state_lib.with_pretrained(state, task.pretrained)
    _LOG.info("starting at step 0 with %s parameters on %d devices",
              f"{parameter_count(state.params):,}", mesh.size)
  else:
    state, iterator_state = restored
    iterator.set_state(iterator_state)
    _LOG.info("resuming at step %d", int(state.step))
  first_step = int(state.step)
  run = _Run(task, config, workdir, mesh, checkpointer, iterator, list(held_out), first_step)
  try:
    with _Sigterm() as sigterm:
      run.steps(state, first_step, sigterm)
  finally:
    checkpointer.close()
    run.writer.close()


def parameter_count(params) -> int:
  """Number of scalars in a tree of parameters."""
  return sum(leaf.size for leaf in jax.tree.leaves(params))


class _Run:
  """The fixed parts of a run, and what is done between steps."""

  def __init__(self, task: Task, config: Config, workdir, mesh: Mesh, checkpointer, iterator,
               held_out, first_step):
    self.task, self.config, self.mesh = task, config, mesh
    self.frozen = jax.device_put(task.frozen, sharding.replicated(mesh))
    self.checkpointer, self.iterator, self.held_out = checkpointer, iterator, held_out
    self.writer = metrics_lib.Writer(workdir, first_step, task.headline, task.unit)
    self.train_step = step_lib.make_train_step(task, config, mesh)
    self.eval_step = step_lib.make_eval_step(task)

  def steps(self, state, first_step: int, sigterm: Callable[[], bool]):
    """Runs the updates that are left."""
    train = self.config.train
    pending, timed, started = [], 0, time.monotonic()
    positions = {first_step: self.iterator.get_state()}  # of the data, since the last look
    _LOG.info("compiling the training step")
    for step in range(first_step + 1, train.steps + 1):
      batch = sharding.put_batch(self.mesh, next(self.iterator))
      state, metrics, norms = self.train_step(state, batch, self.frozen)
      pending.append(metrics)
      positions[step] = self.iterator.get_state()
      timed += 1
      last, stop = step == train.steps, sigterm()
      if step % train.log_every == 0 or last or stop:
        self.require_healthy(state, positions)  # Waits for the step.
        self.log(step, pending, norms, timed / (time.monotonic() - started))
        pending, timed, started = [], 0, time.monotonic()
        positions = {step: positions[step]}
      elif step == first_step + 1:
        jax.block_until_ready(state)
        _LOG.info("compiled in %.0f s", time.monotonic() - started)
        timed, started = 0, time.monotonic()  # The compile is in no rate.
      look = step % train.sample_every == 0 or last or step == round(
          _FIRST_SAMPLES_AT * train.sample_every)
      save = step % train.checkpoint_every == 0 or last or stop
      if look or save:
        self.require_healthy(state, positions)
        pause = time.monotonic()
        if look:
          self.sample(step, state)
        if save:
          self.checkpoint(step, state)
        started += time.monotonic() - pause  # Rates are of updates alone.
      if stop and not last:
        _LOG.warning("SIGTERM: saved step %d; the same command resumes there.", step)
        return

  def log(self, step, pending, norms, rate):
    """Writes one line of metrics, of the steps since the last one."""
    values = functools.reduce(lambda a, b: a.merge(b), jax.device_get(pending)).scalars()
    values = {f"train/{name}": value for name, value in values.items()}
    values |= {name: float(value) for name, value in norms.items()}
    left = (self.config.train.steps - step) / rate
    values |= {"steps_per_second": rate, "seconds_left": left}
    self.writer.scalars(step, values)
    _LOG.info("step %d of %d   %.4f %s   %.2f steps/s   %s left", step,
              self.config.train.steps, values[f"train/{self.task.headline}"], self.task.unit, rate,
              datetime.timedelta(seconds=round(left)))

  def checkpoint(self, step, state):
    """Measures the held-out loss and starts a save."""
    values = {}
    if self.held_out:
      parts = [self.eval_step(state.ema, self.frozen, jax.tree.map(jnp.asarray, batch), seed)
               for seed, batch in enumerate(self.held_out)]
      scalars = functools.reduce(lambda a, b: a.merge(b), jax.device_get(parts)).scalars()
      values = {f"held_out/{name}": value for name, value in scalars.items()
                if name.endswith(self.task.headline)}
      self.writer.scalars(step, values)
      _LOG.info("step %d   held out: %.4f %s", step, values[f"held_out/{self.task.headline}"],
                self.task.unit)
    self.checkpointer.save(state, self.iterator.get_state(), values)
    self.writer.curves()

  def sample(self, step, state):
    """Writes pictures of the current parameters, where samples are pictures of classes."""
    model = self.config.model
    if pictures.drawable(model.image_shape) and not model.backbone.text_tokens:
      for name, picture in self.task.pictures(state.ema, self.frozen).items():
        self.writer.picture(step, name, picture)
    self.writer.curves()

  def require_healthy(self, state, positions):
    """Raises after a non-finite step, with the last good state saved."""
    if bool(state.healthy):
      return
    good = int(state.step)
    self.checkpointer.save(state, positions[good], {})
    self.checkpointer.wait()
    raise NonFiniteError(
        f"the loss or its gradient was not finite at step {good + 1}. The state after step "
        f"{good} is saved; resume it with a lower optimizer.peak, a smaller optimizer.clip or "
        "model.dtype=float32.")


class _Sigterm:
  """While active, remembers a SIGTERM instead of dying from it."""

  def __enter__(self):
    self._received = False
    self._previous = signal.signal(signal.SIGTERM, self._remember)
    return lambda: self._received

  def __exit__(self, *exc_info):
    signal.signal(signal.SIGTERM, self._previous)

  def _remember(self, signum, frame):
    del signum, frame
    self._received = True
