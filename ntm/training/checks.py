"""Everything about a run that can be checked before its data are read."""

import os

from jax.sharding import Mesh

from ntm.config import Config
from ntm.nn import partitioning
from ntm.process import schedule
from ntm.training import multihost
from ntm.training import workdir as workdir_lib


def check_run(config: Config, workdir: str | os.PathLike) -> Mesh:
  """Checks a run against its devices, processes and workdir; writes nothing; collective.

  Args:
    config: of the run.
    workdir: need not exist.

  Returns:
    The mesh of the run.

  Raises:
    ValueError: sizes that do not fit the devices or processes, processes with
      different configs, levels that do not ascend, a workdir of another model or
      that cannot be written.
  """
  workdir_lib.check_same(config, workdir=os.fspath(workdir))
  mesh = partitioning.make_mesh(config.mesh)
  multihost.check_mesh(mesh)
  partitioning.check_batch(config.train.batch_size, config.train.grad_accumulation_steps, mesh)
  process = config.process
  for num_steps in process.num_steps:
    for t_min in (process.t_min, process.t_min_high):
      schedule.padded_times(process.schedule, num_steps, num_steps, t_min,
                            config.model.num_tokens)
  workdir_lib.check(workdir, config)
  return mesh
