"""What the programs share: how they log, and errors as one clear line."""

import logging
import sys
from collections.abc import Callable

import absl.logging
from absl import app, flags


def refuse(names: list[str], reason: str) -> None:
  """Raises ValueError if one of these flags was given, rather than ignore it."""
  for name in names:
    if flags.FLAGS[name].present:
      raise ValueError(f"--{name} does not apply: {reason}.")


def run(main: Callable[[list[str]], None], argv: list[str] | None = None) -> None:
  """Runs an absl program; a mistake of the user's ends it with one line.

  Args:
    main: takes the remaining positional arguments.
    argv: command line; None is sys.argv.
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
    try:
      main(args)
    except (ValueError, FileNotFoundError, ImportError) as error:
      print(f"error: {error}", file=sys.stderr)
      sys.exit(1)

  app.run(guarded, argv=argv)
