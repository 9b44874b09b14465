"""A tiny run on the digits, alone or as several processes.

  python -m tests.helpers.digits_run DIR STEPS

As `ntm train`, less what takes long and is tested elsewhere: pictures, TensorBoard.
"""

import dataclasses
import os
import sys

import jax

from ntm import config as config_lib
from ntm.commands import entry_point
from ntm.data import pipeline
from ntm.losses import task
from ntm.training import loop

_NET = {"layers": 1, "width": 8, "num_heads": 2, "num_kv_heads": 2}


def config(steps: int) -> config_lib.Config:
  """A model of one token an image, a line of metrics every step."""
  return config_lib.from_dict({
      "model": {"patch_shape": (8, 8), "transporter": _NET | {"num_blocks": 1}, "predictor": _NET},
      "process": {"num_steps": (1,)},
      # No schedule, so that a run of fewer steps is the start of one of more.
      "optimizer": {"warmup_steps": 0, "peak_learning_rate": 1e-2, "final_learning_rate": 1e-2},
      "train": {"steps": steps, "batch_size": 64, "log_every": 1, "checkpoint_every": 10**9,
                "sample_every": 10**9},
      "mesh": {"data": -1, "fsdp": 2 if len(jax.devices()) > 1 else 1},
  })


def train(workdir: str | os.PathLike, steps: int) -> None:
  """Trains, or resumes."""
  run = config(steps)
  make_task = lambda config: dataclasses.replace(
      task.density(config), samples=lambda params, frozen, examples: {})
  iterator, held_out = pipeline.training_data(run)
  clu = sys.modules.get("clu", sys)
  sys.modules["clu"] = None  # To import TensorFlow takes longer than the run.
  try:
    loop.train(make_task, run, workdir, iterator, held_out[:1])
  finally:
    del sys.modules["clu"]
    if clu is not sys:
      sys.modules["clu"] = clu


if __name__ == "__main__":
  entry_point.run(lambda _: train(sys.argv[1], int(sys.argv[2])), sys.argv[:1],
                  several_processes=True)
