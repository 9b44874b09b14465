"""Converts checkpoints of other models into ours, and back.

  ntm convert --family=flux2 --source=model.safetensors --target=DIR

The source is a .safetensors file, a `*.safetensors.index.json` of shards, a
PyTorch file (.pt, .pth, .bin), or a directory with one of them. Every tensor of
it must have its place, and every parameter its tensor; --dry_run shows which is
which. The way back, into one .safetensors file:

  ntm convert --export --source=DIR --target=model.safetensors
"""

import pathlib

import jax
from absl import flags

from ntm.commands import entry_point
from ntm.conversion import converter, families
from ntm.training import workdir as workdir_lib

FLAGS = flags.FlagValues()
_FAMILY = flags.DEFINE_enum("family", None, list(families.MODULES),
                            "Kind of model of the source; needed unless --export.",
                            flag_values=FLAGS)
_SOURCE = flags.DEFINE_string("source", None, "File or directory of the other model; with "
                              "--export, the converted directory.", required=True,
                              flag_values=FLAGS)
_TARGET = flags.DEFINE_string("target", None, "Directory to make; with --export, the .safetensors "
                              "file. Must not exist.", required=True, flag_values=FLAGS)
_DTYPE = flags.DEFINE_enum("dtype", None, converter.DTYPES, "Type of the parameters; that of the "
                           "file if left out.", flag_values=FLAGS)
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print the mapping and write nothing.",
                             flag_values=FLAGS)
_EXPORT = flags.DEFINE_bool("export", False, "Write a converted directory back as one file.",
                            flag_values=FLAGS)


def main(_) -> None:
  """Converts or exports."""
  jax.config.update("jax_platforms", "cpu")  # No numbers are computed; leave accelerators alone.
  _check_target(_TARGET.value)
  if _EXPORT.value:
    unused = [flag.name for flag in (_FAMILY, _DTYPE, _DRY_RUN) if flag.value]
    if unused:
      raise ValueError(f"--export takes no --{unused[0]}: it writes back what was converted; leave "
                       f"--{unused[0]} out.")
    converter.export(_SOURCE.value, _TARGET.value)
    return
  if _FAMILY.value is None:
    raise ValueError(f"--family is missing; expected one of {', '.join(families.MODULES)}.")
  converter.convert(families.get(_FAMILY.value), _SOURCE.value, _TARGET.value, _DTYPE.value,
                 _DRY_RUN.value)


def _check_target(target):
  """Raises ValueError before any work unless the target is new and can be made."""
  if "://" in target:
    raise ValueError(f"--target is {target}, which is not on this machine; convert to a local path "
                     "and copy it there.")
  if _DRY_RUN.value:
    return
  if pathlib.Path(target).exists():
    raise ValueError(f"{target} exists; remove it or choose another target.")
  problem = workdir_lib.why_not_writable(target, is_file=True)
  if problem:
    raise ValueError(f"--target is {target}, which cannot be made ({problem}); choose another path "
                     "or change its permissions.")


def run(argv=None) -> None:
  """Entry point."""
  entry_point.run(main, argv, values=FLAGS, about=__doc__)


if __name__ == "__main__":
  run()
