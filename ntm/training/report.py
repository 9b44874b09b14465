"""Reports of a run: metrics in its files and in the log, held-out metrics, pictures."""

import datetime
import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from ntm.config import Config
from ntm.losses.task import Task
from ntm.models import autoencoder
from ntm.nn import partitioning
from ntm.sampling import pictures
from ntm.training import multihost
from ntm.training import step as step_lib
from ntm.training.metrics import Writer
from ntm.training.state import TrainState

_LOG = logging.getLogger("ntm")


class Reporter:
  """Reports on the training of one task. All processes call its methods, which are collective."""

  def __init__(self, task: Task, config: Config, mesh: Mesh, writer: Writer, frozen: Any,
               held_out: Sequence[dict[str, np.ndarray]], captions: Sequence[str] = ()):
    """Makes the evaluation step.

    Args:
      task: what is trained.
      config: of the run.
      mesh: of the run.
      writer: of its metrics and pictures.
      frozen: `task.frozen`, placed on the mesh.
      held_out: batches for the held-out metrics; may be empty.
      captions: of the first held-out examples, for pictures; empty for none.
    """
    self._task, self._config, self._mesh, self._writer = task, config, mesh, writer
    self._frozen, self._held_out, self._warned = frozen, held_out, False
    self._captions = list(captions)
    self._eval_step = step_lib.make_eval_step(task, mesh)

  def training(self, state: TrainState, pending: list, norms: dict[str, jax.Array],
               rates: dict[str, float], unreadable: int) -> None:
    """Writes one line of metrics, averaged over the steps since the last one.

    Args:
      state: after the last of these steps.
      pending: metrics of every step; those of skipped updates, whose loss is not finite, are
        left out.
      norms: of the last step.
      rates: of `Throughput.scalars`; empty if there are none yet.
      unreadable: examples that could not be read; 0 is not written.
    """
    step, steps = int(state.step), self._config.train.steps
    scalars = _scalars([part for part in jax.device_get(pending) if np.isfinite(part.loss)])
    if not self._warned and (warning := self._task.warning(scalars)):
      self._warned = True
      _LOG.warning("step %d: %s", step, warning)
    values = {f"train/{name}": value for name, value in scalars.items()}
    values |= {name: float(value) for name, value in norms.items() if np.isfinite(value)}
    if self._config.train.max_nonfinite_steps:
      values["skipped"] = int(state.skipped)
    if unreadable:
      values["unreadable"] = unreadable
    speed = ""
    if rates:
      left = (steps - step) * rates["step_seconds"]
      values |= rates | {"seconds_left": left}
      speed = (f"   {rates['steps_per_second']:.2f} steps/s   "
               f"{datetime.timedelta(seconds=round(left))} left")
    self._writer.scalars(step, values)
    _LOG.info("step %d of %d   %.4f %s%s", step, steps,
              values.get(f"train/{self._task.primary_metric}", np.nan), self._task.unit, speed)

  def held_out(self, state: TrainState, stopped: Callable[[], Any] = lambda: False
               ) -> dict[str, float]:
    """Held-out metrics of the averaged parameters, also written.

    Args:
      state: of the run.
      stopped: asked before every batch; once true, nothing more is scored.

    Returns:
      {name: value}; empty without held-out data, or when stopped.
    """
    parts = []
    for seed, batch in enumerate(self._held_out):
      if stopped():
        return {}
      batch = multihost.put_whole_batch(self._mesh, batch)
      parts.append(multihost.to_host(self._eval_step(state.ema, self._frozen, batch, seed)))
    if not parts:
      return {}
    step, metric = int(state.step), self._task.primary_metric
    values = {f"held_out/{name}": value for name, value in _scalars(parts).items()
              if name.endswith(metric)}
    self._writer.scalars(step, values)
    _LOG.info("step %d   held out: %.4f %s", step, values[f"held_out/{metric}"], self._task.unit)
    return values

  def samples(self, state: TrainState) -> None:
    """Writes pictures of the averaged parameters: of classes, or of held-out texts."""
    if not pictures.drawable(autoencoder.image_shape(self._config)) or (
        self._config.model.backbone.text_tokens and not self._held_out):
      return
    with partitioning.activations(self._mesh):
      drawn = self._task.samples(state.ema, self._frozen,
                                 self._held_out[0] if self._held_out else {})
    for name, images in drawn.items():
      rows = multihost.to_host(images)
      picture = (pictures.captioned(rows, np.reshape(self._captions[:rows.shape[0] * rows.shape[1]],
                                                     rows.shape[:2]))
                 if self._captions and name != "trajectory" else pictures.draw(rows))
      self._writer.picture(int(state.step), name, picture)


def _scalars(parts) -> dict[str, float]:
  """Scalars of the merged metrics of several batches; none for no batch."""
  return functools.reduce(lambda a, b: a.merge(b), parts).scalars() if parts else {}
