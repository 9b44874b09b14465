"""What the programs share: how they log, and errors as one clear line."""

import logging
import os
import pathlib
import sys
import traceback
from collections.abc import Callable

import absl.logging
import jax
from absl import app, flags

from ntm.commands import distributed
from ntm.training import checkpoint

# What is said in one line: these name what is wrong, and a traceback would bury it.
_CLEAR = (ValueError, OSError, ImportError, FloatingPointError)


def refuse(names: list[str], reason: str) -> None:
  """Raises ValueError if one of these flags was given, rather than ignore it."""
  for name in names:
    if flags.FLAGS[name].present:
      raise ValueError(f"--{name} does not apply: {reason}.")


def run(main: Callable[[list[str]], None], argv: list[str] | None = None,
        several_processes: bool = False) -> None:
  """Runs an absl program; a mistake of the user's ends it with one line.

  Args:
    main: takes the remaining positional arguments.
    argv: command line; None is sys.argv.
    several_processes: whether it may be one of several, see `distributed`.
  """
  def guarded(args):
    """`main` behind one log format and one way to fail."""
    if len(args) > 1:
      raise app.UsageError(f"unexpected arguments {args[1:]}; flags are --name=value.")
    # Our progress in full; of the libraries, which log by absl, errors only.
    absl.logging.set_verbosity(absl.logging.ERROR)
    logger, handler = logging.getLogger("ntm"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    keep_programs()
    try:
      if several_processes:
        distributed.initialize()
      main(args)
    except Exception as error:
      # An orderly exit waits for the other processes, which may be waiting for this one; and
      # after a failed save for threads of Orbax, which wait minutes for what will not come.
      at_once = jax.distributed.is_initialized() or isinstance(error, checkpoint.StorageError)
      if isinstance(error, _CLEAR):
        print(f"error: {error}", file=sys.stderr)
      elif at_once:
        traceback.print_exc()
      else:
        raise
      if at_once:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
      sys.exit(1)

  app.run(guarded, argv=argv)


def keep_programs() -> None:
  """Lets JAX keep compiled programs in the user's cache directory, unless told where."""
  if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path("~/.cache").expanduser()
    jax.config.update("jax_compilation_cache_dir", os.path.join(cache, "ntm", "jax"))
