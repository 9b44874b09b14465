"""Trains a model.

  ntm train --config=configs/digits.py --workdir=runs/digits

The model is an NTM, trained from scratch or from a flow-matching model
(`config.finetune.source`), or a flow-matching model (`config.model.kind`). Repeated with
the same workdir, the command resumes from the newest checkpoint.
"""

import functools
import logging

from absl import flags
from etils import epath
from ml_collections import config_flags

from ntm import config as config_lib
from ntm.commands import entry_point
from ntm.conversion import converter
from ntm.data import pipeline
from ntm.losses import alignment, flow_matching, inputs, task
from ntm.nn import partitioning
from ntm.training import checkpoint, checks, frozen_record, lock, loop
from ntm.training import state as state_lib
from ntm.training import workdir as workdir_lib

_LOG = logging.getLogger("ntm")
FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file(
    "config", help_string="Config file, such as configs/digits.py.", flag_values=FLAGS)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Directory for checkpoints, metrics and samples; an existing run resumes.",
    required=True, flag_values=FLAGS)
flags.mark_flag_as_required("config", FLAGS)


def main(_) -> None:
  """Checks everything that can be checked, then trains."""
  config = config_lib.from_dict(_CONFIG.value)
  workdir_lib.check_same(config)  # Before they read the source together.
  _check_workdir(_WORKDIR.value)
  lock.check(_WORKDIR.value)
  if not inputs.missing(config):  # Otherwise the data are looked at too before it is refused.
    checks.check_run(config, _WORKDIR.value)
  checks.warn_of_kept_tokens(config)
  data = pipeline.training_data(config)
  # Last: of large networks it takes minutes.
  mesh = partitioning.make_mesh(config.mesh)
  frozen = inputs.load(config, _source(config, mesh), mesh)
  make_task = flow_matching.velocity if config.model.kind == "flow_matching" else task.density
  loop.train(functools.partial(make_task, frozen=frozen), config, _WORKDIR.value, *data)


def _check_workdir(workdir):
  """Raises ValueError if another command wrote this directory."""
  if (epath.Path(workdir) / workdir_lib.TEACHER_FILE).exists():
    raise ValueError(f"{workdir} holds a denoiser of `ntm distill`; choose another --workdir.")
  if converter.source_paths(workdir):
    raise ValueError(f"{workdir} holds a converted model, which has no optimiser state to resume; "
                     "choose another --workdir, and start from it with config.finetune.source.")


def _source(config, mesh):
  """Averaged parameters of the flow-matching model to start from, split; None from scratch."""
  if not config.finetune.source:
    return None

  def abstract(theirs):
    """Their shapes, for each process to read its own part, of a model that fits."""
    alignment.check_source(config, theirs)
    frozen_record.check_source(config)
    return state_lib.abstract_params(flow_matching.velocity(theirs).init, mesh)

  source_config, params, step = checkpoint.restore_ema(config.finetune.source, abstract=abstract)
  paths = converter.source_paths(config.finetune.source)
  if alignment.may_be_distilled(source_config, paths):
    _LOG.warning("%s comes from %s, not 'base' by its name; of a model distilled to few steps the "
                 "output is not a velocity, and an NTM should not start from it.",
                 config.finetune.source, ", ".join(paths) or "an unknown file")
  _LOG.info("starting from step %d of %s", step, config.finetune.source)
  return params


run = entry_point.command(main, FLAGS, __doc__, several_processes=True)

if __name__ == "__main__":
  run()
