"""Everything about a run that can be checked before its data are read."""

import logging
import os

import jax
from jax.sharding import Mesh

from ntm.config import Config, extension
from ntm.losses import task as task_lib
from ntm.losses.task import Task
from ntm.nn import partitioning
from ntm.process import schedule
from ntm.training import frozen_record
from ntm.training import workdir as workdir_lib

_LOG = logging.getLogger("ntm")


def check_run(config: Config, workdir: str | os.PathLike) -> Mesh:
  """Checks a run against its devices, processes and workdir; writes nothing; collective.

  Args:
    config: of the run.
    workdir: need not exist.

  Returns:
    The mesh of the run.

  Raises:
    ValueError: sizes that do not fit the devices or processes, processes with
      different configs, levels that do not ascend, a workdir of another model, with other
      frozen networks, or that cannot be written.
  """
  workdir_lib.check_same(config, workdir=os.fspath(workdir))
  mesh = partitioning.make_mesh(config.mesh)
  partitioning.check_batch(config.train.batch_size, config.train.grad_accumulation_steps, mesh)
  partitioning.batch_rows(mesh, config.train.batch_size)
  process = config.process
  for num_steps in process.num_steps:
    for t_min in (process.t_min, process.t_min_high):
      schedule.padded_times(process.schedule, num_steps, num_steps, t_min,
                            config.model.num_tokens)
  workdir_lib.check(workdir, config)
  frozen_record.check(workdir, config)
  return mesh


def warn_of_kept_tokens(config: Config) -> None:
  """Logs a warning of a transporter that never moves half of the tokens, exact as it is."""
  model = config.model
  if (model.kind, model.transporter.kind, model.transporter.num_blocks) == ("ntm", "coupling", 1):
    _LOG.warning("one coupling block leaves half of the tokens as they are, so that their steps "
                 "stay Gaussian; set config.model.transporter.num_blocks to 2 or more")


def check_extensions(task: Task, config: Config, params) -> None:
  """Traces an update and samples of a run with extensions, so that mistakes show at once.

  Args:
    task: of the run.
    config: of the run.
    params: shapes of the parameters.

  Raises:
    ValueError: a part that breaks its contract, see docs/extending.md.
  """
  size = config.train.batch_size
  if not extension.named_in(config).keys() - {"data.source"}:
    return
  batch = task_lib.batch_shapes(config, size)
  shapes = lambda tree: jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), tree)
  rng = jax.random.key(0)
  jax.eval_shape(lambda params, frozen, batch: task.loss(rng, params, frozen, batch, 0),
                 shapes(params), shapes(task.frozen), batch)
  jax.eval_shape(task.samples, shapes(params), shapes(task.frozen), batch)
