"""Converts checkpoints into ours and back, by the mapping of their family.

A converted directory holds

  checkpoints/0/ema     the parameters, as a run of `ntm train` saves them
  conversion.json       family, architecture, and the source files
  config.json           of velocity models, which `ntm.restore` reads as a run
  ignored.safetensors   tensors that the model does not use, if any, for `export`

It is written as TARGET.partial and renamed when complete, so that an interrupted
conversion cannot be taken for a model.
"""

import functools
import json
import logging
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import ntm
from ntm import checksums
from ntm.conversion import atomic, families, inspection, mapping, record, streaming
from ntm.conversion import plan as plan_lib
from ntm.conversion.families import Family
from ntm.conversion.safetensors_files import write_safetensors
from ntm.conversion.source_files import open_source
from ntm.conversion.tensors import TensorSpec

_LOG = logging.getLogger("ntm")
_IGNORED = "ignored.safetensors"
DTYPES = ("bfloat16", "float32")
Report = Callable[[int, int], None]  # (bytes done, bytes in total) → None.


def convert(family: Family, source: str | os.PathLike, target: str | os.PathLike,
            dtype: str | None = None, dry_run: bool = False,
            report: Report = lambda done, total: None) -> None:
  """Converts a PyTorch checkpoint into a directory of ours.

  Args:
    family: of the source.
    source: file or directory, as `source_files.open_source` takes it.
    target: directory to make; must not exist.
    dtype: of all parameters, one of DTYPES; None keeps those of the file. A leaf made of
      several types takes the widest.
    dry_run: print which tensor goes where, and write nothing.
    report: called as tensors are written.

  Raises:
    ValueError: the source is of another family, damaged, or does not match the mapping; the
      target exists or cannot be written.
    FileNotFoundError: no source.
    ImportError: a library that the source needs is missing.
  """
  if dtype not in (None, *DTYPES):
    raise ValueError(f"dtype is {dtype!r}; it must be one of {', '.join(DTYPES)}.")
  tensors = open_source(source)
  plan = plan_lib.make(family, source, tensors, dtype)
  if dry_run:
    plan_lib.print_mapping(plan, tensors)
    return
  inspector = inspection.Inspector(plan.entries, tensors)
  ignored = {name: spec for name, spec in tensors.specs.items() if name in plan.ignored}
  size = sum(spec.nbytes for spec in (*plan.specs.values(), *ignored.values()))
  add = _counter(report, sum(spec.nbytes for spec in plan.specs.values()))
  leaves = {}
  for entry in plan.entries:
    spec = plan.specs[entry.target]
    pieces = functools.partial(_pieces, entry, inspector.read, spec.dtype, add)
    leaves[family.prefix + entry.target] = streaming.Leaf(spec, entry.layers > 0, pieces)
  with atomic.whole_or_nothing(target, size) as partial:
    partial.mkdir()
    streaming.save(partial, leaves)
    inspector.finish()
    if ignored:
      write_safetensors(partial / _IGNORED, ignored,
                        ((name, tensors.read(name)) for name in ignored), {})
    record.write(partial, {
        "family": family.name, "architecture": plan.architecture, "prefix": family.prefix,
        "dtype": dtype, "ntm": ntm.__version__,
        "source": [{"path": str(path.absolute()), "bytes": path.stat().st_size,
                    "sha256": record.digest(path)} for path in tensors.paths],
        "metadata": tensors.metadata,
        "tensors": {name: [spec.dtype.name, *spec.shape] for name, spec in tensors.specs.items()},
        "ignored": dict(plan.ignored),
        "ignored_sha256": record.digest(partial / _IGNORED) if ignored else None,
    })
    if plan.run:
      (partial / "config.json").write_text(json.dumps(plan.run, indent=2) + "\n")
  _LOG.info("%s: %s, %.2f GB", target, family.name, size / 1e9)
  if family.run and not plan.run:
    _LOG.warning("%s has no config.json: no config describes a model of these sizes, so it can be "
                 "loaded and exported, but not sampled or finetuned", target)


def export(directory: str | os.PathLike, output: str | os.PathLike,
           family: Family | None = None, report: Report = lambda done, total: None) -> None:
  """Writes a converted directory back as one .safetensors file.

  Names, order, shapes, types and metadata are those of the source, and so are the numbers,
  bit for bit, if the conversion kept their type or widened it. Numbers that it narrowed are
  written in the narrower type.

  Args:
    directory: target of `convert`.
    output: the file; must not exist.
    family: None finds it by the name in conversion.json.
    report: as in `convert`.

  Raises:
    FileNotFoundError: no converted directory.
    ValueError: the directory is damaged; the output exists or cannot be written.
  """
  directory = pathlib.Path(directory)
  made = record.read(directory)
  family = family or families.get(made["family"])
  entries = family.entries(made["architecture"])
  leaves = {entry.target: streaming.StoredLeaf(directory, family.prefix + entry.target)
            for entry in entries}
  specs = {name: TensorSpec(tuple(shape), jnp.dtype(dtype))
           for name, (dtype, *shape) in made["tensors"].items()}
  mapping.check(entries, {name: spec.shape for name, spec in specs.items()},
                {path: leaf.spec.shape for path, leaf in leaves.items()},
                family.ignored(made["architecture"]))
  for entry in entries:
    stored = leaves[entry.target].spec.dtype
    for name, _ in entry.pieces():
      if plan_lib.widest(specs[name].dtype, stored) != stored:
        specs[name] = TensorSpec(specs[name].shape, stored)
  stacked = {entry.target for entry in entries if entry.layers}
  leaf = lambda path: leaves[path] if path in stacked else leaves[path][...]
  size = sum(spec.nbytes for spec in specs.values())
  add = _counter(report, size - sum(specs[name].nbytes for name in made["ignored"]))

  def arrays():
    for name, array in mapping.write(entries, leaf):
      yield name, array
      add(array.nbytes)
    streaming.verify(directory, {family.prefix + path: leaf for path, leaf in leaves.items()})
    if made["ignored"]:
      if made.get("ignored_sha256") not in (None, record.digest(directory / _IGNORED)):
        raise ValueError(f"{directory / _IGNORED} is damaged; convert the source again.")
      ignored = open_source(directory / _IGNORED)
      yield from ((name, ignored.read(name)) for name in ignored.specs)

  with atomic.whole_or_nothing(output, size) as partial:
    write_safetensors(partial, specs, arrays(), made["metadata"])


def load(directory: str | os.PathLike) -> tuple[str, dict[str, Any], dict[str, Any]]:
  """A converted directory: (family name, architecture, parameters).

  The parameters are a nested dict of jax.Array on the default device; float64 becomes
  float32 unless JAX is configured to keep it.

  Raises:
    FileNotFoundError: the directory was not converted.
    ValueError: it is damaged.
  """
  family, architecture, params = read(directory)
  return family, architecture, jax.tree.map(jnp.asarray, params)


def read(directory: str | os.PathLike, shardings=None
         ) -> tuple[str, dict[str, Any], dict[str, Any]]:
  """As `load`, with parameters of the types on disk, as NumPy arrays on the host.

  Args:
    directory: target of `convert`.
    shardings: of every parameter, into which it is read; None for NumPy arrays.
  """
  made = record.read(directory)
  path = made["prefix"].split("/")[:-1]
  for key in path[::-1]:
    shardings = None if shardings is None else {key: shardings}
  params = streaming.restore(directory, shardings)
  for key in path:
    params = params[key]
  return made["family"], made["architecture"], params


def checksum(directory: str | os.PathLike) -> int:
  """A checksum of the family, architecture and parameters of a converted directory.

  Raises:
    FileNotFoundError: the directory was not converted.
    ValueError: it is damaged.
  """
  made = record.read(directory)
  return checksums.of_json([made["family"], made["architecture"], streaming.manifest(directory)])


def source_paths(directory: str | os.PathLike) -> list[str]:
  """The source files of a converted directory; empty for other directories."""
  try:
    return [file["path"] for file in record.read(directory)["source"]]
  except FileNotFoundError:
    return []


def _pieces(entry, read, dtype, add):
  """The pieces of a leaf in its type, each added when it was written."""
  for index, piece in mapping.read_pieces(entry, read):
    yield index, inspection.narrowed(piece, dtype, entry.target)
    add(piece.size * dtype.itemsize)
    del piece  # Or it would be held while the next one is read.


def _counter(report: Report, total: int) -> Callable[[int], None]:
  """A function that adds bytes and reports their sum."""
  done = 0

  def add(size):
    nonlocal done
    done += size
    report(done, total)

  return add
