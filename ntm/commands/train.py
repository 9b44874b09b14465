"""Trains a model: ntm train --config=configs/digits.py --workdir=runs/digits.

Run again with the same workdir, it resumes from the newest checkpoint.
"""

from absl import flags
from ml_collections import config_flags

from ntm import config as config_lib
from ntm.commands import program
from ntm.data import pipeline
from ntm.training import loop, task

_CONFIG = config_flags.DEFINE_config_file("config", help_string="Config file.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the run.")
flags.mark_flags_as_required(["config", "workdir"])


def main(_) -> None:
  """Checks everything that can be, then trains."""
  config = config_lib.from_dict(_CONFIG.value)
  loop.prepare(config, _WORKDIR.value)
  loop.train(task.density(config), config, _WORKDIR.value, *pipeline.training_data(config))


def run(argv=None) -> None:
  """Entry point."""
  program.run(main, argv)


if __name__ == "__main__":
  run()
