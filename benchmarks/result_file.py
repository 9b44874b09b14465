"""--json of the benchmarks: a path that is checked before anything is measured."""

import argparse
import errno
import os
import pathlib


def add_flag(parser: argparse.ArgumentParser) -> None:
  """Adds --json, whose value is a path that can be written, or None."""
  parser.add_argument("--json", type=_writable,
                      help="file to write the figures to; missing directories are made")


def _writable(text):
  path = pathlib.Path(text)
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    problem = errno.EISDIR if path.is_dir() else 0 if os.access(
        path if path.exists() else path.parent, os.W_OK) else errno.EACCES
  except OSError as error:
    problem = error.errno
  if problem:
    raise argparse.ArgumentTypeError(f"{path} cannot be written ({os.strerror(problem)}); choose "
                                     "another path or change its permissions")
  return path
