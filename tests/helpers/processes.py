"""Commands as users run them, one process each, on a tiny model of the digits."""

import contextlib
import functools
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import jax
import numpy as np

from ntm.training import checkpoint
from ntm.training import workdir as workdir_lib
from tests.helpers import runs

ROOT = pathlib.Path(__file__).parents[2]
_TINY = ["--config.model.predictor.width=16", "--config.model.transporter.width=16",
         "--config.model.predictor.layers=1", "--config.model.transporter.num_blocks=1",
         "--config.model.unroll=1", "--config.optimizer.warmup_steps=0", "--config.train.steps=3"]
# One device; programs that run a few times are compiled in a hurry, as by conftest.py.
_ENV = os.environ | {"XLA_FLAGS": " ".join(
    flag for flag in os.environ.get("XLA_FLAGS", "").split() if "device_count" not in flag)}
_ENV["OPENBLAS_NUM_THREADS"] = "1"  # The classifier is so small that threads only wait.


def ntm(*arguments: object, check: bool = True) -> subprocess.CompletedProcess:
  """`ntm <arguments>`; fails unless it ends with code 0, if that is checked."""
  done = subprocess.run([sys.executable, "-m", "ntm.commands.main", *map(str, arguments)],
                        capture_output=True, text=True, env=_ENV, cwd=ROOT)
  if check:
    assert done.returncode == 0, done.stdout + done.stderr
  return done


@contextlib.contextmanager
def started(*arguments: object) -> Iterator[subprocess.Popen]:
  """The process of `ntm <arguments>`, which is killed if the caller did not end it."""
  with subprocess.Popen([sys.executable, "-m", "ntm.commands.main", *map(str, arguments)],
                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=_ENV,
                        cwd=ROOT) as process:
    try:
      yield process
    finally:
      process.kill()


def launched(*arguments: object, processes: int = 2) -> str:
  """The output of `ntm <arguments>` as several processes of one device each, which succeed."""
  done = subprocess.run(
      [sys.executable, ROOT / "launch" / "local.py", f"--processes={processes}",
       "--devices-per-process=1", "--", sys.executable, "-m", "ntm.commands.main",
       *map(str, arguments)], capture_output=True, text=True, env=_ENV, cwd=ROOT)
  assert done.returncode == 0, done.stdout + done.stderr
  return done.stdout + done.stderr


def train(workdir: pathlib.Path) -> str:
  """Trains three steps of the digits; returns the log."""
  return ntm("train", "--config=configs/digits.py", f"--workdir={workdir}", *_TINY).stderr


@functools.cache
def trained() -> pathlib.Path:
  """The workdir of a trained run, which is not to be changed."""
  workdir = pathlib.Path(tempfile.mkdtemp())
  train(workdir)
  return workdir


def diverged() -> pathlib.Path:
  """The workdir of a model whose averaged parameters are NaN."""
  workdir = pathlib.Path(tempfile.mkdtemp())
  config = runs.config()
  state = runs.state(config)
  workdir_lib.prepare(workdir, config)
  checkpointer = checkpoint.Checkpointer(workdir, config)
  checkpointer.save(state.replace(ema=jax.tree.map(lambda a: a * np.nan, state.ema)), {}, {},
                    wait=True)
  checkpointer.close()
  return workdir
