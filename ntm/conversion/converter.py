"""Converts checkpoints by the table of their family, to ours and back, tensor by tensor.

A converted directory holds

  checkpoints/0/ema     the parameters, as a run of `ntm train` stores them
  conversion.json       family, architecture, and what the source was
  config.json           of velocity models, which `ntm.restore` then reads as a run
  ignored.safetensors   tensors the model does not use, if any, for the way back

It is written beside its place and renamed when whole, so that a conversion
stopped at any moment leaves nothing that could be taken for a model.
"""

import json
import logging
import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import ntm
from ntm import config as config_lib
from ntm.conversion import atomic, families, inspection, mapping, record, streaming
from ntm.conversion.mapping import Family
from ntm.conversion.progress import Progress
from ntm.conversion.readers import Spec, open_files, write_safetensors

_LOG = logging.getLogger("ntm")
_IGNORED = "ignored.safetensors"
DTYPES = ("bfloat16", "float32")


def convert(family: Family, source: str | os.PathLike, target: str | os.PathLike,
            dtype: str | None = None, dry_run: bool = False) -> None:
  """Turns a checkpoint of others into one of ours.

  Args:
    family: of the source.
    source: as `files.open_files` takes it.
    target: directory to make; must not exist.
    dtype: of all floating-point parameters, one of DTYPES; None keeps those of
      the file. A leaf made of several types takes the widest.
    dry_run: print what would go where, and write nothing.

  Raises:
    ValueError: the file is of another family, or does not match its table; the
      target exists or cannot be written.
    FileNotFoundError: no source.
    ImportError: a library that the source needs is missing.
  """
  if dtype not in (None, *DTYPES):
    raise ValueError(f"dtype is {dtype!r}; it must be one of {', '.join(DTYPES)}.")
  tensors = open_files(source)
  architecture = _recognise(family, source, tensors)
  try:
    entries = family.entries(architecture)
    shapes = family.target_shapes(architecture)
  except ValueError as error:
    raise ValueError(f"{source} has the tensors of family {family.name}, of sizes that do not fit "
                     f"each other: {str(error).rstrip('.')}.") from error
  reasons = family.ignored(architecture)
  mapping.check(entries, tensors.shapes, shapes, reasons)
  inspection.check_types(entries, tensors)
  inspector = inspection.Inspector(entries, tensors)
  run = family.run(architecture) if family.run else None
  run = run and config_lib.to_dict(config_lib.from_dict(run))
  types = {entry.target: _leaf_type(entry, tensors, dtype) for entry in entries}
  if dry_run:
    _print_mapping(entries, tensors, shapes, types, reasons)
    return
  ignored = {name: spec for name, spec in tensors.specs.items() if name in reasons}
  specs = {path: Spec(tuple(shape), types[path]) for path, shape in shapes.items()}
  size = sum(spec.nbytes for spec in (*specs.values(), *ignored.values()))
  with atomic.whole_or_nothing(target, size) as partial:
    partial.mkdir()
    progress = Progress(sum(len(entry.pieces()) for entry in entries),
                        sum(spec.nbytes for spec in specs.values()))
    streaming.save(partial, {
        family.prefix + entry.target: streaming.Leaf(
            specs[entry.target].shape, types[entry.target], entry.layers > 0,
            lambda entry=entry: _counted(entry, inspector, types[entry.target], progress))
        for entry in entries})
    inspector.finish()
    if ignored:
      write_safetensors(partial / _IGNORED, ignored,
                        ((name, tensors.read(name)) for name in ignored), {})
    record.write(partial, {
        "family": family.name, "architecture": architecture, "prefix": family.prefix,
        "dtype": dtype,
        "ntm": ntm.__version__,
        "source": [{"path": str(path.absolute()), "bytes": path.stat().st_size,
                    "sha256": record.digest(path)} for path in tensors.paths],
        "metadata": tensors.metadata,
        "tensors": {name: [spec.dtype.name, *spec.shape] for name, spec in tensors.specs.items()},
        "ignored": {name: reasons[name] for name in ignored},
        "ignored_sha256": record.digest(partial / _IGNORED) if ignored else None,
    })
    if run:
      (partial / "config.json").write_text(json.dumps(run, indent=2) + "\n")
  _LOG.info("%s: %s, %.2f GB", target, family.name, size / 1e9)
  if family.run and not run:
    _LOG.warning("%s has no config.json: of these sizes it can be loaded and exported, but not "
                 "sampled or finetuned as a run", target)


def export(directory: str | os.PathLike, output: str | os.PathLike,
           family: Family | None = None) -> None:
  """Writes a converted directory back as one .safetensors file.

  Names, order, shapes, types and metadata are those of the source, and so are
  the numbers, bit for bit, where the conversion kept their type or widened it.
  Numbers that it narrowed are written in the type they were narrowed to.
  Tensors that the model ignores come from where the conversion put them.

  Args:
    directory: target of `convert`.
    output: the file; must not exist.
    family: None finds it by the name that was recorded.

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
  specs = {}
  for name, (dtype, *shape) in made["tensors"].items():
    specs[name] = Spec(tuple(shape), jnp.dtype(dtype))
  for entry in entries:
    for name, _ in entry.pieces():
      held = leaves[entry.target].dtype
      if _widest(specs[name].dtype, held) != held:
        specs[name] = Spec(specs[name].shape, held)
  shapes = {name: spec.shape for name, spec in specs.items()}
  mapping.check(entries, shapes, {path: leaf.shape for path, leaf in leaves.items()},
              family.ignored(made["architecture"]))
  stacked = {entry.target for entry in entries if entry.layers}
  leaf = lambda path: leaves[path] if path in stacked else leaves[path][...]

  def arrays():
    yield from mapping.write(entries, leaf)
    _verify(directory, family.prefix, leaves)
    if made["ignored"]:
      if made.get("ignored_sha256") not in (None, record.digest(directory / _IGNORED)):
        raise ValueError(f"{directory / _IGNORED} is damaged; convert the source again.")
      ignored = open_files(directory / _IGNORED)
      for name in ignored.specs:
        yield name, ignored.read(name)

  progress = Progress(len(specs), sum(spec.nbytes for spec in specs.values()))
  with atomic.whole_or_nothing(output, progress.total_bytes) as partial:
    write_safetensors(partial, specs, progress.over(arrays()), made["metadata"])


def load(directory: str | os.PathLike) -> tuple[str, dict[str, Any], dict[str, Any]]:
  """A converted directory: (family name, architecture, parameters).

  The parameters are a nested dict of jax.Array on the default device; float64 becomes
  float32 unless JAX is told to keep it.

  Raises:
    FileNotFoundError: it is none.
    ValueError: damaged.
  """
  made = record.read(directory)
  params = streaming.restore(directory)
  for key in made["prefix"].split("/")[:-1]:
    params = params[key]
  return made["family"], made["architecture"], jax.tree.map(jnp.asarray, params)


def source_paths(directory: str | os.PathLike) -> list[str]:
  """The files a converted directory was made from; empty if it is none."""
  if not record.exists(directory):
    return []
  return [file["path"] for file in record.read(directory)["source"]]


def _verify(directory, prefix, leaves):
  """Raises ValueError unless the leaves, all of them read, are as they were written."""
  written = streaming.read_manifest(directory)
  for path, leaf in leaves.items():
    if written is not None and written.get(prefix + path) != leaf.manifest_entry():
      raise ValueError(f"{path} in {directory} is damaged: its checksum does not match; convert "
                       "the source again.")


def _recognise(family, source, tensors):
  try:
    architecture = family.recognise(tensors.shapes)
  except ValueError as error:
    raise ValueError(f"{source} has the tensors of family {family.name}, but {error}.") from error
  if architecture is None:
    likely = families.matching(tensors.shapes)
    raise ValueError(f"{source} is not of family {family.name}; it looks like "
                     f"{' or '.join(likely) or 'none of ' + ', '.join(families.MODULES)}.")
  return architecture


def _leaf_type(entry, tensors, dtype):
  """Type of a leaf: as asked, or wide enough for every tensor in it."""
  found = None
  for name, _ in entry.pieces():
    own = tensors.specs[name].dtype
    found = own if found is None else _widest(found, own)
  return jnp.dtype(dtype) if dtype and jnp.issubdtype(found, jnp.floating) else found


def _widest(one, other):
  return one if one == other else np.dtype(jnp.promote_types(one, other))


def _counted(entry, inspector, dtype, progress):
  """The pieces of a leaf, reported as they are done."""
  for index, piece in mapping.read_pieces(entry, inspector.read):
    size = piece.size * dtype.itemsize
    yield index, inspection.narrowed(piece, dtype, entry.target)
    del piece  # Else it is held while the next one is read.
    progress.add(size)


def _print_mapping(entries, tensors, shapes, types, reasons):
  for entry in entries:
    for name, index in entry.pieces():
      spec = tensors.specs[name]
      rows = "" if entry.rows is None else f" rows {entry.rows[0]}:{entry.rows[1]}"
      place = "" if index is None else f"[{index}]"
      print(f"{name} {list(spec.shape)} {spec.dtype}{rows} → {entry.target}{place} "
            f"{list(shapes[entry.target])} {types[entry.target]}")
  for name in tensors.specs:
    if name in reasons:
      print(f"{name} {list(tensors.specs[name].shape)} is kept aside: {reasons[name]}")
