"""Trains a model: ntm train --config=configs/digits.py --workdir=runs/digits.

Run again with the same workdir, it resumes from the newest checkpoint.
"""

import logging

import jax
from absl import flags
from ml_collections import config_flags

from ntm import config as config_lib
from ntm.commands import program
from ntm.data import pipeline, sources
from ntm.training import loop

_LOG = logging.getLogger("ntm")
_CONFIG = config_flags.DEFINE_config_file("config", help_string="Config file.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the run.")
flags.mark_flags_as_required(["config", "workdir"])

_HELD_OUT = 1024  # Test images behind the held-out likelihood during training.


def main(_) -> None:
  """Checks everything that can be, then trains."""
  config = config_lib.from_dict(_CONFIG.value)
  loop.prepare(config, _WORKDIR.value)
  source = sources.load(config.data, config.model, "train")
  test = sources.load(config.data, config.model, "test")
  _LOG.info("%d training and %d test images", len(source), len(test))
  iterator = pipeline.train_iterator(source, config.train.batch_size, config.train.seed,
                                     jax.process_index(), jax.process_count())
  held_out = pipeline.ordered_batches(test, config.train.batch_size, _HELD_OUT)
  loop.train(config, _WORKDIR.value, iterator, held_out)


def run(argv=None) -> None:
  """Entry point."""
  program.run(main, argv)


if __name__ == "__main__":
  run()
