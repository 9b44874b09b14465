"""Distils a trained NTM into a denoiser for fast sampling.

  ntm distill --config=configs/digits_denoiser.py --teacher=runs/digits

The denoiser is written to TEACHER/denoiser, where `ntm.restore` finds it, or to
--workdir. Repeated with the same flags, the command resumes from the newest checkpoint.
Model, process, data, autoencoder and texts are the teacher's and override the config.
"""

import functools
import logging
import os

from absl import flags
from etils import epath
from ml_collections import config_flags

from ntm import config as config_lib
from ntm.commands import entry_point, shared_flags
from ntm.data import pipeline
from ntm.losses import distillation, inputs, task
from ntm.nn import partitioning
from ntm.training import checkpoint, checks, data_record, lock, loop, multihost, teacher
from ntm.training import state as state_lib
from ntm.training import workdir as workdir_lib

_LOG = logging.getLogger("ntm")
FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file(
    "config", help_string="Config file, such as configs/digits_denoiser.py.", flag_values=FLAGS)
_TEACHER = flags.DEFINE_string("teacher", None, "Directory of the trained NTM.", required=True,
                               flag_values=FLAGS)
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the denoiser's run; TEACHER/denoiser "
                               "by default.", flag_values=FLAGS)
_CHECKPOINT = shared_flags.checkpoint(FLAGS)
flags.mark_flag_as_required("config", FLAGS)


def main(_) -> None:
  """Checks everything that can be checked, then distils."""
  config = config_lib.from_dict(_CONFIG.value)
  workdir_lib.check_same(config, teacher=_TEACHER.value, checkpoint=_CHECKPOINT.value)
  workdir = _WORKDIR.value or os.path.join(_TEACHER.value, "denoiser")
  lock.check(workdir)
  mesh = partitioning.make_mesh(config.mesh)

  def abstract(theirs):
    """Shapes of the teacher's parameters, for each process to read its own part."""
    teacher.check_kind(_TEACHER.value, theirs)
    return state_lib.abstract_params(task.density(theirs).init, mesh)

  teacher_config, params, step = checkpoint.restore_ema(_TEACHER.value, _CHECKPOINT.value, abstract)
  config = teacher.join(config, teacher_config)
  path = epath.Path(workdir)
  resumes = (path / "config.json").exists() or (path / "checkpoints").exists()
  if resumes:  # Before the configs are compared: the run may be of another model.
    teacher.check(workdir, params)
  if not inputs.missing(config):  # As `ntm train`.
    checks.check_run(config, workdir)
  data = pipeline.training_data(config)
  data_record.check(workdir, data[0].record)
  frozen = inputs.load(config, params, mesh)
  multihost.barrier("all checks before distillation have passed")
  if not resumes:
    teacher.write(workdir, _TEACHER.value, step, params)
  _LOG.info("distilling step %d of %s", step, _TEACHER.value)
  loop.train(functools.partial(distillation.distill, frozen=frozen), config, workdir, *data)


run = entry_point.command(main, FLAGS, __doc__, several_processes=True)

if __name__ == "__main__":
  run()
