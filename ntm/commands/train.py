"""Trains a model.

  ntm train --config=configs/digits.py --workdir=runs/digits

An NTM from scratch or from a flow-matching model (`config.finetune.source`), or
a flow-matching model (`config.model.kind`).

Run again with the same workdir, it resumes from the newest checkpoint.
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
from ntm.losses import alignment, flow_matching, task
from ntm.training import checkpoint, loop
from ntm.training import workdir as workdir_lib

_LOG = logging.getLogger("ntm")
FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file(
    "config", help_string="Config file, as configs/digits.py.", flag_values=FLAGS)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Directory that gets checkpoints, metrics and samples; a run that is there "
    "resumes.", required=True, flag_values=FLAGS)
flags.mark_flag_as_required("config", FLAGS)


def main(_) -> None:
  """Checks everything that can be, then trains."""
  config = config_lib.from_dict(_CONFIG.value)
  workdir_lib.check_same(config)  # Before they read the source together.
  _check_workdir(_WORKDIR.value)
  source = _source(config)
  loop.prepare(config, _WORKDIR.value)
  data = pipeline.training_data(config)
  if config.model.kind == "flow_matching":
    make_task = flow_matching.velocity
  else:
    make_task = functools.partial(task.density, velocity_params=source)
  loop.train(make_task, config, _WORKDIR.value, *data)


def _check_workdir(workdir):
  """Raises ValueError for what other commands wrote."""
  if (epath.Path(workdir) / workdir_lib.TEACHER_FILE).exists():
    raise ValueError(f"{workdir} holds a denoiser of `ntm distill`; choose another --workdir.")
  if converter.source_paths(workdir):
    raise ValueError(f"{workdir} holds a converted model, which has no optimiser state to resume; "
                     "choose another --workdir, and start from it with config.finetune.source.")


def _source(config):
  """Averaged parameters of the flow-matching model to start from, or None."""
  if not config.finetune.source:
    return None
  source_config, params, step = checkpoint.restore_ema(config.finetune.source)
  alignment.check_source(config, source_config)
  paths = converter.source_paths(config.finetune.source)
  if alignment.may_be_distilled(source_config, paths):
    _LOG.warning("%s comes from %s, not 'base' by its name; of a model distilled to few steps the "
                 "output is no velocity, and an NTM should not start from it.",
                 config.finetune.source, ", ".join(paths) or "an unknown file")
  _LOG.info("starting from step %d of %s", step, config.finetune.source)
  return params


def run(argv=None) -> None:
  """Entry point."""
  entry_point.run(main, argv, several_processes=True, values=FLAGS, about=__doc__)


if __name__ == "__main__":
  run()
