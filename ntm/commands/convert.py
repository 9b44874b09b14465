"""Converts others' checkpoints: ntm convert --family=flux2 --source=model.safetensors --target=DIR.

The source is a .safetensors file, a `*.safetensors.index.json` of shards, a
PyTorch file (.pt, .pth, .bin), or a directory with one of them. Every tensor of
it must have its place, and every parameter its tensor; --dry_run shows which is
which. The way back, into one .safetensors file:

  ntm convert --export --source=DIR --target=model.safetensors
"""

import jax
from absl import flags

from ntm.commands import program
from ntm.conversion import engine, families

_FAMILY = flags.DEFINE_enum("family", None, list(families.MODULES), "Kind of the source.")
_SOURCE = flags.DEFINE_string("source", None, "Their file; with --export, our directory.")
_TARGET = flags.DEFINE_string("target", None, "Our directory; with --export, their file. New.")
_DTYPE = flags.DEFINE_enum("dtype", None, engine.DTYPES, "Of the parameters; default the file's.")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print the mapping, write nothing.")
_EXPORT = flags.DEFINE_bool("export", False, "Write a converted directory back.")
flags.mark_flags_as_required(["source", "target"])


def main(_) -> None:
  """Converts or exports."""
  jax.config.update("jax_platforms", "cpu")  # No numbers are computed; leave accelerators alone.
  if _EXPORT.value:
    unused = [flag.name for flag in (_FAMILY, _DTYPE, _DRY_RUN) if flag.value]
    if unused:
      raise ValueError(f"--export takes no --{unused[0]}: it writes back what was converted.")
    engine.export(_SOURCE.value, _TARGET.value)
    return
  if _FAMILY.value is None:
    raise ValueError(f"--family is missing: one of {', '.join(families.MODULES)}.")
  engine.convert(families.get(_FAMILY.value), _SOURCE.value, _TARGET.value, _DTYPE.value,
                 _DRY_RUN.value)


def run(argv=None) -> None:
  """Entry point."""
  program.run(main, argv)


if __name__ == "__main__":
  run()
