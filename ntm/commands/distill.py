"""Distils a denoiser: ntm distill --config=configs/digits_denoiser.py --teacher=runs/digits.

The denoiser is written to TEACHER/denoiser, where `ntm.restore` finds it, or to
--workdir. Run again, it resumes from the newest checkpoint. Model, process and
data are the teacher's, whatever the config says of them.
"""

import logging
import os

from absl import flags
from etils import epath
from ml_collections import config_flags

from ntm import config as config_lib
from ntm.commands import program
from ntm.data import pipeline
from ntm.training import checkpoint, distillation, loop, run_config

_LOG = logging.getLogger("ntm")
_CONFIG = config_flags.DEFINE_config_file("config", help_string="Config file.")
_TEACHER = flags.DEFINE_string("teacher", None, "Workdir of the trained model.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the run; default TEACHER/denoiser.")
_STEP = flags.DEFINE_integer("checkpoint", None, "Step of the teacher; default the newest.")
flags.mark_flags_as_required(["config", "teacher"])


def main(_) -> None:
  """Checks everything that can be, then distils."""
  config = config_lib.from_dict(_CONFIG.value)
  run_config.check_same(config, teacher=_TEACHER.value, checkpoint=_STEP.value)
  workdir = _WORKDIR.value or os.path.join(_TEACHER.value, "denoiser")
  teacher_config, params, step = checkpoint.restore_ema(_TEACHER.value, _STEP.value)
  distillation.check_kind(_TEACHER.value, teacher_config)
  config = distillation.join(config, teacher_config)
  data = pipeline.training_data(config, workdir)
  loop.prepare(config, workdir)
  if (epath.Path(workdir) / "checkpoints").exists():
    distillation.check_teacher(workdir, params)
  distillation.write_teacher(workdir, _TEACHER.value, step, params)
  _LOG.info("distilling step %d of %s", step, _TEACHER.value)
  loop.train(distillation.distill(config, params), config, workdir, *data)


def run(argv=None) -> None:
  """Entry point."""
  program.run(main, argv, several_processes=True)


if __name__ == "__main__":
  run()
