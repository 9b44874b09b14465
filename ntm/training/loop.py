"""The training loop: data in, checkpoints, metrics and pictures out.

The loop never waits for the step it has just dispatched, except to log: the
device works on step i while the host fetches batch i + 1. Several processes run
it side by side; what only the first does is in `metrics`, what they do together
in `processes`.
"""

import datetime
import functools
import logging
import os
import signal
from collections.abc import Callable, Iterable

import jax
import numpy as np
from jax.sharding import Mesh

from ntm.config import Config
from ntm.losses.task import Task
from ntm.nn import partitioning
from ntm.process import schedule
from ntm.sampling import pictures
from ntm.training import checkpoint, data_record, multihost, profile
from ntm.training import metrics as metrics_lib
from ntm.training import state as state_lib
from ntm.training import step as step_lib
from ntm.training import workdir as workdir_lib
from ntm.training.data_record import DataIterator
from ntm.training.throughput import Throughput

_LOG = logging.getLogger("ntm")
_FIRST_SAMPLES_AT = 0.15  # of sample_every: something to look at early on


class NonFiniteError(FloatingPointError):
  """The loss or its gradient was NaN or infinite, more often than allowed."""


class Preempted(SystemExit):
  """The run stopped at a signal, its state saved; exit code 143 after SIGTERM, 130 after Ctrl-C."""


def prepare(config: Config, workdir: str | os.PathLike) -> Mesh:
  """Checks all that can be checked before any long work; writes nothing.

  Args:
    config: of the run.
    workdir: need not exist.

  Returns:
    The mesh of the run.

  Raises:
    ValueError: sizes that do not fit the devices or processes, processes of
      different configs, levels that do not ascend, a workdir of another model or
      that cannot be written.
  """
  workdir_lib.check_same(config, workdir=os.fspath(workdir))
  mesh = partitioning.make_mesh(config.mesh)
  multihost.check_mesh(mesh)
  partitioning.check_batch(config.train.batch_size, config.train.accumulation, mesh)
  process = config.process
  for num_steps in process.num_steps:
    for t_min in (process.t_min, process.t_min_high):
      schedule.padded_times(process.schedule, num_steps, num_steps, t_min,
                            config.model.num_tokens)
  workdir_lib.check(workdir, config)
  return mesh


def train(make_task: Callable[[Config], Task], config: Config, workdir: str | os.PathLike,
          iterator: DataIterator, held_out: Iterable[dict[str, np.ndarray]]) -> None:
  """Trains to config.train.steps, from the newest checkpoint if there is one.

  Args:
    make_task: config → what is trained, as `losses.task.density`. It is also called with
      the config without rematerialisation, to count FLOPs.
    config: of the run.
    workdir: gets config.json, checkpoints/, metrics.jsonl, samples/, curves.png,
      and what `data_record` says.
    iterator: batches of this process's share of config.train.batch_size.
    held_out: batches for the held-out likelihood; may be empty.

  Raises:
    ValueError: as `prepare`, checkpoints none of which can be read, one beyond
      the last step, or examples that cannot be read, after saving.
    NonFiniteError: after saving the last good state.
    Preempted: after a SIGTERM or Ctrl-C.
    checkpoint.StorageError: as `Checkpointer` raises it.
  """
  mesh, task = prepare(config, workdir), make_task(config)
  data_record.check(workdir, getattr(iterator, "record", {}))
  abstract = state_lib.abstract_state(task, config, mesh)  # Refuses what the mesh does not split.
  state_lib.check_pretrained(abstract, task.pretrained or {})
  multihost.wait_for_all("all that can be checked is")  # Nothing is written before.
  checkpointer = checkpoint.Checkpointer(workdir, config, task.primary_metric)
  restored = checkpointer.restore_latest(abstract)
  if restored is None:
    state = state_lib.init_state(task, config, mesh)
    if task.pretrained is not None:
      state = state_lib.with_pretrained(state, task.pretrained)
    _LOG.info("starting at step 0 with %s parameters on %d devices",
              f"{parameter_count(state.params):,}", mesh.size)
  else:
    state, iterator_state = restored
    if int(state.step) >= config.train.steps:
      checkpointer.close()
      return _already_done(int(state.step), config.train.steps, workdir)
    iterator.set_state(iterator_state)
    _LOG.info("resuming at step %d", int(state.step))
  workdir_lib.prepare(workdir, config)
  first_step, stopped = int(state.step), None
  run = _Run(task, make_task, config, workdir, mesh, checkpointer, iterator, list(held_out),
             first_step)
  data_record.write(workdir, getattr(iterator, "record", {}), first_step)
  try:
    with multihost.Preemption(first_step) as asked_to_stop:
      stopped = run.steps(state, first_step, asked_to_stop)
  finally:
    run.profile.close()
    # To close takes all processes; after an error here the others may never come to it.
    if stopped is not None or jax.process_count() == 1:
      checkpointer.close()
      run.writer.close()
  if stopped:
    raise Preempted(128 + stopped)


def _already_done(step, steps, workdir):
  if step > steps:
    raise ValueError(f"{workdir} is at step {step} already, and config.train.steps is {steps}; "
                     f"expected more than {step} to train on.")
  _LOG.info("all %d steps are done; with a larger config.train.steps the run goes on", steps)


def parameter_count(params) -> int:
  """Number of scalars in a tree of parameters."""
  return sum(leaf.size for leaf in jax.tree.leaves(params))


class _Run:
  """The fixed parts of a run, and what is done between steps."""

  def __init__(self, task: Task, make_task, config: Config, workdir, mesh: Mesh, checkpointer,
               iterator, held_out, first_step):
    self.task, self.make_task, self.config, self.mesh = task, make_task, config, mesh
    self.frozen = state_lib.place_frozen(task, mesh)
    self.checkpointer, self.iterator, self.held_out = checkpointer, iterator, held_out
    self.unreadable = data_record.Unreadable(workdir, iterator)
    self.first_step = first_step
    self.writer = metrics_lib.Writer(workdir, first_step, task.primary_metric, task.unit)
    self.profile = profile.Profile(workdir, config.train.profile_at, config.train.profile_steps)
    self.clock = Throughput(config.train.batch_size * config.model.num_tokens * task.levels, mesh)
    self.train_step = step_lib.make_train_step(task, config, mesh)
    self.eval_step = step_lib.make_eval_step(task, mesh)

  def steps(self, state, first_step: int, asked_to_stop: Callable[[int], int]) -> int:
    """Runs the updates that are left; gives the signal that stopped it before the last, or 0."""
    train, clock = self.config.train, self.clock
    pending, positions = [], {first_step: self.iterator.get_state()}  # Since the last look.
    _LOG.info("compiling the training step")
    clock.restart()
    for step in range(first_step + 1, train.steps + 1):
      self.profile.before(step, state)
      with clock.waiting_for_data():
        batch = self.next_batch(state, positions)
      batch = partitioning.put_batch(self.mesh, batch)
      state, metrics, norms = self.train_step(state, batch, self.frozen)
      self.profile.after(step, state)
      pending.append(metrics)
      positions[step] = self.iterator.get_state()
      clock.update()
      last, stop = step == train.steps, asked_to_stop(step)
      if step == first_step + 1:
        jax.block_until_ready(state)
        _LOG.info("compiled in %.0f s", clock.elapsed)
        clock.model_flops = step_lib.model_flops(
            self.train_step, self.make_task, self.config, self.mesh, state, batch, self.frozen)
        clock.restart()  # The compile is in no rate.
      if step % train.log_every == 0 or last or stop:
        self.require_healthy(state, positions)  # Waits for the step.
        self.log(step, state, pending, norms)
        if problem := self.unreadable.too_many():
          self.end(problem, state, positions)
        pending, positions = [], {step: positions[step]}
        clock.restart()
      look = step % train.sample_every == 0 or last or step == round(
          _FIRST_SAMPLES_AT * train.sample_every)
      save = step % train.checkpoint_every == 0 or last or stop
      if look or save:
        self.require_healthy(state, positions)
        with clock.paused():  # Rates are of updates alone.
          if look:
            self.sample(step, state)
          if save:
            self.checkpoint(step, state, wait=last or stop)
      if stop and not last:
        _LOG.warning("%s: saved step %d; the same command resumes there.",
                     "Ctrl-C" if stop == signal.SIGINT else "SIGTERM", step)
        return stop
    return 0

  def log(self, step, state, pending, norms):
    """Writes one line of metrics, of the steps since the last one."""
    # Updates that were skipped are in no mean.
    pending = [part for part in jax.device_get(pending) if np.isfinite(part.loss)]
    rates, values = self.clock.scalars(), {}
    if pending:
      scalars = functools.reduce(lambda a, b: a.merge(b), pending).scalars()
      values = {f"train/{name}": value for name, value in scalars.items()}
    values |= {name: float(value) for name, value in norms.items() if np.isfinite(value)}
    if self.config.train.skip_nonfinite:
      values["skipped"] = int(state.skipped)
    if unreadable := self.unreadable.update():  # Takes all processes.
      values["unreadable"] = unreadable
    speed = ""
    if rates:
      left = (self.config.train.steps - step) * rates["step_seconds"]
      values |= rates | {"seconds_left": left}
      speed = (f"   {rates['steps_per_second']:.2f} steps/s   "
               f"{datetime.timedelta(seconds=round(left))} left")
    self.writer.scalars(step, values)
    _LOG.info("step %d of %d   %.4f %s%s", step, self.config.train.steps,
              values.get(f"train/{self.task.primary_metric}", np.nan), self.task.unit, speed)

  def checkpoint(self, step, state, wait):
    """Measures the held-out loss and starts a save, or waits for it too."""
    values = {}
    if self.held_out:
      parts = multihost.to_host([
          self.eval_step(state.ema, self.frozen, multihost.put_whole_batch(self.mesh, batch), seed)
          for seed, batch in enumerate(self.held_out)])
      scalars = functools.reduce(lambda a, b: a.merge(b), parts).scalars()
      values = {f"held_out/{name}": value for name, value in scalars.items()
                if name.endswith(self.task.primary_metric)}
      self.writer.scalars(step, values)
      _LOG.info("step %d   held out: %.4f %s", step, values[f"held_out/{self.task.primary_metric}"],
                self.task.unit)
    self.checkpointer.save(state, self.iterator.get_state(), values, wait)
    self.writer.curves()

  def sample(self, step, state):
    """Writes pictures of the current parameters, where samples are pictures of classes."""
    model = self.config.model
    if pictures.drawable(model.image_shape) and not model.backbone.text_tokens:
      with partitioning.activations(self.mesh):
        drawn = self.task.samples(state.ema, self.frozen)
      for name, images in drawn.items():
        self.writer.picture(step, name, pictures.grid(multihost.to_host(images)))
    self.writer.curves()

  def require_healthy(self, state, positions):
    """Raises after a non-finite step, with the last good state saved."""
    if bool(state.healthy):
      return
    good = int(state.step)
    self.checkpointer.save(state, positions[good], {}, wait=True)
    skipped = f", after {int(state.skipped)} skipped ones" if int(state.skipped) else ""
    raise NonFiniteError(
        f"the loss or its gradient was not finite at step {good + 1}{skipped}. The state after "
        f"step {good} is saved; resume it with a lower optimizer.peak, a smaller optimizer.clip "
        "or model.dtype=float32.")

  def next_batch(self, state, positions):
    """The next batch, or an error with the state saved; it takes all processes to save."""
    try:
      return next(self.iterator)
    except (ValueError, OSError) as error:
      if jax.process_count() > 1:
        raise  # The others may have their batch.
      self.end(error, state, positions)

  def end(self, problem, state, positions):
    """Raises that data cannot be used, with the state saved."""
    self.require_healthy(state, positions)
    step = int(state.step)
    if step > self.first_step:
      self.checkpointer.save(state, positions[step], {}, wait=True)
      problem = f"{problem} The state after step {step} is saved; the same command resumes there."
    raise ValueError(f"{problem}")
