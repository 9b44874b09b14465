"""The training loop: batches in, a trained state and checkpoints out.

The loop does not wait for a step it has just dispatched, except to log: the device
works on step i while the host fetches batch i + 1. All processes run the same loop.
"""

import functools
import logging
import os
import signal
import time
from collections.abc import Callable, Iterable

import jax
import numpy as np
from clu import parameter_overview
from jax.sharding import Mesh

from ntm.config import Config, extension
from ntm.data.pipeline import TrainIterator
from ntm.losses.task import Task
from ntm.nn import partitioning
from ntm.training import (
    checkpoint,
    checks,
    data_record,
    frozen_record,
    goodput,
    lock,
    multihost,
    profile,
    report,
)
from ntm.training import metrics as metrics_lib
from ntm.training import state as state_lib
from ntm.training import step as step_lib
from ntm.training import workdir as workdir_lib
from ntm.training.throughput import Throughput

_LOG = logging.getLogger("ntm")
_FIRST_SAMPLES_AT = 0.15  # Fraction of sample_every after which the first pictures are drawn.


class NonFiniteError(FloatingPointError):
  """The loss or its gradient was NaN or infinite more often than allowed."""


class Preempted(SystemExit):
  """A signal stopped the run after a save; exit code 143 after SIGTERM, 130 after Ctrl-C."""


def train(make_task: Callable[[Config], Task], config: Config, workdir: str | os.PathLike,
          iterator: TrainIterator, held_out: Iterable[dict[str, np.ndarray]]) -> None:
  """Trains to config.train.steps, from the newest checkpoint if there is one.

  Args:
    make_task: config → what is trained, as `losses.task.density`. It is also called with
      the config without rematerialisation, to count FLOPs.
    config: of the run.
    workdir: for config.json, checkpoints, metrics, pictures and the files of `data_record`.
    iterator: batches of this process's share of config.train.batch_size.
    held_out: batches for the held-out metrics; may be empty.

  Raises:
    ValueError: as `checks.check_run`; another run writes to the workdir; no checkpoint can be
      read; one beyond the last step; examples that cannot be read, after saving.
    NonFiniteError: after saving the last finite state.
    Preempted: after a SIGTERM or Ctrl-C.
    storage.StorageError: as `Checkpointer` raises it.
  """
  started = time.time()
  mesh, task = checks.check_run(config, workdir), make_task(config)
  record = getattr(iterator, "record", {})
  data_record.check(workdir, record)
  abstract = state_lib.abstract_state(task, config, mesh)  # Refuses what the mesh does not split.
  state_lib.check_pretrained(abstract, task.pretrained or {})
  checks.check_extensions(task, config, abstract.params)
  multihost.barrier("all checks before training have passed")  # Nothing is written before.
  with lock.held(workdir):
    checkpointer = checkpoint.Checkpointer(workdir, config, task.primary_metric)
    restored = checkpointer.restore_latest(abstract)
    if restored is None:
      _LOG.info("drawing the first parameters")  # Compiles a program: it may take minutes.
      state = state_lib.init_state(task, config, mesh)
      if task.pretrained is not None:
        state = state_lib.with_pretrained(state, task.pretrained)
      _LOG.info("starting at step 0 with %s parameters on %d device%s",
                f"{parameter_overview.count_parameters(state.params):,}", mesh.size,
                "s" if mesh.size > 1 else "")
    else:
      state, iterator_state = restored
      if int(state.step) >= config.train.steps:
        checkpointer.close()
        return _finish(int(state.step), config.train.steps, workdir)
      iterator.set_state(iterator_state)
      _LOG.info("resuming at step %d", int(state.step))
    workdir_lib.prepare(workdir, config)
    first_step, stopped = int(state.step), None
    run = _Run(task, make_task, config, workdir, mesh, checkpointer, iterator, list(held_out),
               first_step, started)
    data_record.write(workdir, record, first_step)
    frozen_record.write(workdir, config)
    try:
      with multihost.Preemption(first_step) as stop_signal:
        stopped = run.steps(state, stop_signal)
    finally:
      run.profile.close()
      # Closing is collective; after an error here the other processes may never close theirs.
      if stopped is not None or jax.process_count() == 1:
        checkpointer.close()
      run.writer.close()
    if stopped:
      raise Preempted(128 + stopped)


def _finish(step, steps, workdir):
  """Logs that the run is complete; ValueError if it has more steps than the config asks for."""
  if step > steps:
    raise ValueError(f"{workdir} is at step {step} already, and config.train.steps is {steps}; "
                     f"expected more than {step} to train on.")
  _LOG.info("all %d steps are done; a larger config.train.steps continues the run", steps)


def not_finite(config: Config, step: int, skipped: int) -> str:
  """The text of a `NonFiniteError` after the finite step `step`, which is saved."""
  after = f", after {skipped} skipped ones" if skipped else ""
  paths = ", ".join(extension.named_in(config).values())
  suspect = (f" The cause may also be in {paths}: look for an overflow, or a division, log or "
             "sqrt of 0, in its values and its gradients." if paths else "")
  return (f"the loss or its gradient was not finite at step {step + 1}{after}. The state after "
          f"step {step} is saved; resume it with a lower optimizer.peak_learning_rate, a smaller "
          f"optimizer.max_grad_norm or model.dtype=float32.{suspect}")


class _Run:
  """The fixed parts of a run, and the actions between its steps."""

  def __init__(self, task: Task, make_task, config: Config, workdir, mesh: Mesh, checkpointer,
               iterator, held_out, first_step, started):
    self.make_task, self.config, self.mesh = make_task, config, mesh
    self.frozen = state_lib.place_frozen(task, mesh)
    self.checkpointer, self.iterator = checkpointer, iterator
    self.unreadable, self.first_step = data_record.Unreadable(workdir, iterator), first_step
    self.writer = metrics_lib.Writer(workdir, first_step, task.primary_metric, task.unit)
    self.profile = profile.Profile(workdir, config.train.profile_at, config.train.profile_steps)
    self.clock = Throughput(config.train.batch_size * config.model.num_tokens * task.levels, mesh)
    self.goodput = goodput.Goodput(workdir, first_step, started)
    self.train_step = step_lib.make_train_step(task, config, mesh)
    self.report = report.Reporter(task, config, mesh, self.writer, self.frozen, held_out,
                                  getattr(iterator, "captions", ()))
    # Of the iterator after each step since the last log: one of them may be the last finite step.
    self.positions = {first_step: iterator.get_state()}
    self.pending = []  # Metrics of these steps.

  def steps(self, state, stop_signal: Callable[[int], int]) -> int:
    """Runs the remaining updates; returns the signal that stopped them early, or 0."""
    train, clock = self.config.train, self.clock
    _LOG.info("compiling the training step")
    clock.restart()
    self.goodput.lap("start")
    for step in range(self.first_step + 1, train.steps + 1):
      self.profile.before(step, state)
      self.goodput.lap("updates")
      with clock.waiting_for_data():
        batch = self.next_batch(state)
      self.goodput.lap("data")
      batch = partitioning.put_batch(self.mesh, batch)
      state, metrics, norms = self.train_step(state, batch, self.frozen)
      self.profile.after(step, state)
      self.pending.append(metrics)
      self.positions[step] = self.iterator.get_state()
      clock.update()
      last, stop = step == train.steps, stop_signal(step)
      if step == self.first_step + 1:
        jax.block_until_ready(state)
        _LOG.info("compiled in %.0f s", clock.elapsed)
        clock.model_flops = step_lib.model_flops(
            self.train_step, self.make_task, self.config, self.mesh, state, batch, self.frozen)
        clock.restart()  # Rates exclude compilation.
        self.goodput.lap("compile")
      if step % train.log_every == 0 or last or stop:
        self.log(state, norms)
      draws = step % train.sample_every == 0 or last or step == round(
          _FIRST_SAMPLES_AT * train.sample_every)
      saves = step % train.checkpoint_every == 0 or last
      if draws or saves or stop:
        self.require_finite(state)
        stop = self.evaluate(state, norms, draws, saves, functools.partial(stop_signal, step))
      if stop and not last:
        name = "Ctrl-C" if stop == signal.SIGINT else "SIGTERM"
        _LOG.warning("%s: saved step %d; the same command resumes there.", name, step)
        return stop
    return 0

  def log(self, state, norms):
    """Writes a line of metrics of the steps since the last one."""
    self.require_finite(state)  # Waits for the step.
    self.report.training(state, self.pending, norms, self.clock.scalars(), self.unreadable.update())
    if problem := self.unreadable.too_many():
      self.end(problem, state)
    step = int(state.step)
    self.pending, self.positions = [], {step: self.positions[step]}
    self.clock.restart()
    self.goodput.lap("updates")
    self.goodput.write(step)

  def evaluate(self, state, norms, draws, saves, stop_signal):
    """Draws, scores and saves; once a signal has come, which it returns, only saves."""
    stop, metrics = stop_signal(), {}
    self.goodput.lap("updates")
    with self.clock.paused():  # Rates are of updates alone.
      if draws and not stop:
        self.report.samples(state)
        stop = stop_signal()
      if saves and not stop:
        metrics = self.report.held_out(state, stop_signal)
        stop = stop_signal()
    self.goodput.lap("evaluation")
    if stop and self.pending:
      self.log(state, norms)
    with self.clock.paused():
      if saves or stop:
        self.save(state, metrics, wait=bool(stop) or int(state.step) == self.config.train.steps)
        self.goodput.lap("checkpoints")
        self.goodput.write(int(state.step), saved=True)
        _LOG.info(self.goodput.summary())
      if not stop:
        self.writer.curves()
    return stop

  def save(self, state, metrics, wait):
    """Starts a save, or waits for it, with the metrics up to it written before."""
    self.writer.flush()
    self.checkpointer.save(state, self.positions[int(state.step)], metrics, wait)

  def require_finite(self, state):
    """Raises after a non-finite step, with the last finite state saved."""
    if bool(state.healthy):
      return
    self.save(state, {}, wait=True)
    raise NonFiniteError(not_finite(self.config, int(state.step), int(state.skipped)))

  def next_batch(self, state):
    """The next batch, or an error with the state saved."""
    try:
      return next(self.iterator)
    except (ValueError, OSError) as error:
      if jax.process_count() > 1:
        raise  # Saving is collective, and the other processes may have their batch.
      self.end(error, state)

  def end(self, problem, state):
    """Raises ValueError for unusable data, with the state saved."""
    self.require_finite(state)
    step = int(state.step)
    if step > self.first_step:
      self.save(state, {}, wait=True)
      problem = f"{problem} The state after step {step} is saved; the same command resumes there."
    raise ValueError(f"{problem}")
