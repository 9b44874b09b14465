"""Converts checkpoints of other models into ours, and back.

  ntm convert --family=flux2 --source=model.safetensors --target=DIR

The source is a .safetensors file, a `*.safetensors.index.json` of shards, a PyTorch file (.pt,
.pth, .bin), or a directory with one of them. Every tensor must have its parameter, and every
parameter its tensor; --dry_run prints which is which. Back into one .safetensors file:

  ntm convert --export --source=DIR --target=model.safetensors
"""

import os
import pathlib
import sys

import jax
from absl import flags

from ntm.commands import entry_point
from ntm.commands.progress import progress
from ntm.conversion import atomic, converter, families
from ntm.training import workdir as workdir_lib

FLAGS = flags.FlagValues()
_FAMILY = flags.DEFINE_string("family", None, f"Kind of model: {', '.join(families.PUBLISHED)}, or "
                              "MODULE:NAME of a Family in Python. Required without --export.",
                              flag_values=FLAGS)
_SOURCE = flags.DEFINE_string("source", None, "File or directory to convert; with --export, the "
                              "converted directory.", required=True, flag_values=FLAGS)
_TARGET = flags.DEFINE_string("target", None, "Directory to make; with --export, the .safetensors "
                              "file. Must not exist.", required=True, flag_values=FLAGS)
_DTYPE = flags.DEFINE_enum("dtype", None, converter.DTYPES, "Type of all parameters. Default: as "
                           "in the file.", flag_values=FLAGS)
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print which tensor goes where and write nothing.",
                             flag_values=FLAGS)
_EXPORT = flags.DEFINE_bool("export", False, "Write a converted directory back as one "
                            ".safetensors file.", flag_values=FLAGS)


def main(_) -> None:
  """Converts or exports."""
  jax.config.update("jax_platforms", "cpu")  # Nothing is computed; leaves accelerators to others.
  if os.getcwd() not in sys.path:
    sys.path.append(os.getcwd())  # For families in modules of the user.
  _check_target(_TARGET.value)
  unused = [flag.name for flag in (_FAMILY, _DTYPE, _DRY_RUN) if flag.value]
  if _EXPORT.value and unused:
    raise ValueError(f"--export takes no --{unused[0]}: it writes back what was converted; leave "
                     f"--{unused[0]} out.")
  if not _EXPORT.value and _FAMILY.value is None:
    raise ValueError(f"--family is missing; expected one of {', '.join(families.PUBLISHED)}.")
  family = None if _EXPORT.value else families.get(_FAMILY.value)
  _check_source(_SOURCE.value, family)
  with progress("MB written") as report:
    megabytes = lambda done, total: report(done // 10**6, total // 10**6)
    if family is None:
      converter.export(_SOURCE.value, _TARGET.value, report=megabytes)
    else:
      converter.convert(family, _SOURCE.value, _TARGET.value, _DTYPE.value, _DRY_RUN.value,
                        megabytes)


def _check_source(source, family):
  """Raises ValueError if the source does not exist, and says what it should be."""
  if pathlib.Path(source).exists():
    return
  if family is None:
    expected = "a directory that `ntm convert` made"
  elif family.configure:
    expected = "a folder with .safetensors files, their index and config.json"
  else:
    expected = ("a .safetensors file, an index of its shards, a PyTorch file, or a folder with one "
                "of them")
  raise ValueError(f"--source is {source}, which does not exist; expected {expected}.")


def _check_target(target):
  """Raises ValueError before any work unless the target is new and can be made."""
  if _DRY_RUN.value:
    atomic.local_path(target)
    return
  atomic.new_path(target)
  problem = workdir_lib.why_not_writable(target, is_file=True)
  if problem:
    raise ValueError(f"--target is {target}, which cannot be made ({problem}); choose another path "
                     "or change its permissions.")


def run(argv=None) -> None:
  """Entry point."""
  entry_point.run(main, argv, values=FLAGS, about=__doc__)


if __name__ == "__main__":
  run()
