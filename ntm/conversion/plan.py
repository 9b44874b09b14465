"""What a conversion will write, checked against the source before anything is written."""

import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from ntm import config as config_lib
from ntm.conversion import families, inspection, mapping
from ntm.conversion.families import Family
from ntm.conversion.mapping import Entry
from ntm.conversion.tensors import TensorFiles, TensorSpec


@dataclasses.dataclass(frozen=True)
class Plan:
  """A conversion whose names, shapes and types fit.

  Attributes:
    architecture: sizes of the model, JSON values.
    entries: the mapping.
    specs: shape and type of our leaves by path.
    ignored: {tensor of the source that the model does not use: reason}.
    run: config of the run that can be sampled and finetuned, or None.
  """

  architecture: dict[str, Any]
  entries: list[Entry]
  specs: Mapping[str, TensorSpec]
  ignored: Mapping[str, str]
  run: dict[str, Any] | None


def make(family: Family, source: str | os.PathLike, tensors: TensorFiles,
         dtype: str | None) -> Plan:
  """Plans a conversion; raises ValueError if the source does not fit the family's mapping."""
  architecture = _recognise(family, source, tensors)
  if family.configure:
    architecture = _configure(family, architecture, tensors.paths[0].parent / "config.json")
  try:
    entries = family.entries(architecture)
    shapes = family.target_shapes(architecture)
  except ValueError as error:
    raise ValueError(f"{source} has the tensors of family {family.name}, of sizes that do not fit "
                     f"each other: {str(error).rstrip('.')}.") from error
  ignored = family.ignored(architecture)
  mapping.check(entries, tensors.shapes, shapes, ignored)
  inspection.check_types(entries, tensors)
  specs = {}
  for entry in entries:
    types = (tensors.specs[name].dtype for name, _ in entry.pieces())
    specs[entry.target] = TensorSpec(
        tuple(shapes[entry.target]), jnp.dtype(dtype or functools.reduce(widest, types)))
  run = family.run and family.run(architecture)
  return Plan(architecture, entries, specs,
              {name: ignored[name] for name in tensors.specs if name in ignored},
              run and config_lib.to_dict(config_lib.from_dict(run)))


def widest(one: np.dtype, other: np.dtype) -> np.dtype:
  """The type that holds the numbers of both."""
  return one if one == other else np.dtype(jnp.promote_types(one, other))


def print_mapping(plan: Plan, tensors: TensorFiles) -> None:
  """Prints which tensor goes where, one piece per line."""
  for entry in plan.entries:
    for name, index in entry.pieces():
      rows = "" if entry.rows is None else f" rows {entry.rows[0]}:{entry.rows[1]}"
      place = "" if index is None else f"[{index}]"
      print(f"{name} {tensors.specs[name]}{rows} → {entry.target}{place} "
            f"{plan.specs[entry.target]}")
  for name, reason in plan.ignored.items():
    print(f"{name} {list(tensors.specs[name].shape)} is not used by the model: {reason}")


def _recognise(family, source, tensors):
  try:
    architecture = family.recognise(tensors.shapes)
  except ValueError as error:
    raise ValueError(f"{source} has the tensors of family {family.name}, but {error}.") from error
  if architecture is None:
    likely = families.matching(tensors.shapes)
    raise ValueError(f"{source} is not of family {family.name}; it looks like "
                     f"{' or '.join(likely) or 'none of ' + ', '.join(families.PUBLISHED)}.")
  return architecture


def _configure(family: Family, architecture: dict[str, Any], path: pathlib.Path) -> dict[str, Any]:
  """The architecture with the settings of a config.json."""
  try:
    values = json.loads(path.read_text())
    if not isinstance(values, dict):
      raise ValueError("it is not a JSON object")
  except FileNotFoundError as error:
    raise FileNotFoundError(
        f"{path} does not exist; family {family.name} needs it, because the tensors do not show "
        "all settings. Download the config.json of the checkpoint.") from error
  except (OSError, ValueError) as error:
    raise ValueError(f"{path} cannot be read ({error}); download it again.") from error
  try:
    return family.configure(architecture, values)
  except ValueError as error:
    raise ValueError(f"{path} does not describe a model of family {family.name}: "
                     f"{error}.") from error
