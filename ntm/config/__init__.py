"""From an ml_collections file to frozen dataclasses, checked at the boundary.

People write `ml_collections.ConfigDict` files (those in configs/), tools write JSON;
both become one `Config` here and nothing below reads a dictionary. The
dataclasses hold the defaults, so a config file states only what differs:

  config = ntm.config.default()      # every key, locked: a typo is an error
  config.train.batch_size = 64

`from_dict` raises ValueError naming the offending key or value, what was
expected and what to do, before anything is built.
"""

import dataclasses
import difflib
import hashlib
import json
import math
import os
import runpy
import types
import typing
from collections.abc import Mapping
from typing import Any

import ml_collections

from ntm.config import extension, renamed
from ntm.config.autoencoder import AutoencoderConfig
from ntm.config.data import DataConfig
from ntm.config.extension import Extension
from ntm.config.model import InverseConfig, ModelConfig, TransporterConfig, check_model
from ntm.config.predictor import BackboneConfig, PredictorConfig
from ntm.config.run import (
    Config,
    FinetuneConfig,
    MeshConfig,
    OptimizerConfig,
    ProcessConfig,
    TrainConfig,
    check_run,
)
from ntm.config.text import TextConfig
from ntm.config.transformer import TransformerConfig

_MAX_INT = 2**31 - 1  # Devices count in int32 and compute in float32.
_MIN_FLOAT = 1e-30

__all__ = [
    "AutoencoderConfig",
    "BackboneConfig",
    "Config",
    "DataConfig",
    "FinetuneConfig",
    "InverseConfig",
    "MeshConfig",
    "ModelConfig",
    "OptimizerConfig",
    "PredictorConfig",
    "ProcessConfig",
    "TextConfig",
    "TrainConfig",
    "TransformerConfig",
    "TransporterConfig",
    "load_sibling",
    "default",
    "from_dict",
    "sha256",
    "to_dict",
]


def default() -> ml_collections.ConfigDict:
  """Every key with its default, locked: the start of a config file."""
  return ml_collections.ConfigDict(to_dict(Config())).lock()


def load_sibling(child: str, parent: str) -> ml_collections.ConfigDict:
  """The config of the file `parent` in the directory of the file `child`.

  A config file that differs little from another one starts with
  `config = ntm.config.load_sibling(__file__, "digits.py")`, wherever it is run from.
  """
  return runpy.run_path(os.path.join(os.path.dirname(child), parent))["get_config"]()


def to_dict(config: Config) -> dict[str, Any]:
  """The nested dictionary of a Config, as written to config.json."""
  return dataclasses.asdict(config)


def sha256(config: Config) -> str:
  """The SHA-256 of all keys and values of a Config, which results are recorded with."""
  return hashlib.sha256(json.dumps(to_dict(config), sort_keys=True).encode()).hexdigest()


def from_dict(values: Mapping[str, Any]) -> Config:
  """Builds and checks a Config from a ConfigDict or parsed JSON.

  Missing keys keep their defaults; lists become tuples.

  Raises:
    ValueError: an unknown key (names the nearest known one), a value of the
      wrong type, or sizes that do not fit together.
  """
  if isinstance(values, ml_collections.ConfigDict):
    values = values.to_dict()
  config = _build(Config, values, "config")
  check_model(config.model)
  check_run(config)
  return config


def _build(cls, values, where):
  if not isinstance(values, Mapping):
    raise ValueError(f"{where} is {values!r}; expected a section with keys.")
  kinds = typing.get_type_hints(cls)
  for key in values:
    if key not in kinds:
      old = f"{where}.{key}".removeprefix("config.")
      if old in renamed.RENAMED:
        raise ValueError(f"{where}.{key} was renamed; use config.{renamed.today(old)}.")
      near = difflib.get_close_matches(key, kinds, n=1, cutoff=0.0)
      raise ValueError(f"{where}.{key} is not a known key; the nearest is "
                       f"{where}.{near[0]}.")
  return cls(**{key: _convert(kinds[key], value, f"{where}.{key}")
                for key, value in values.items()})


def _choices(kind) -> tuple[tuple[str, ...], bool]:
  """(values of a `Literal`, none of another type; whether an extension may stand there)."""
  union = typing.get_origin(kind) in (types.UnionType, typing.Union)
  parts = typing.get_args(kind) if union else (kind,)
  choices = sum((typing.get_args(part) for part in parts
                 if typing.get_origin(part) is typing.Literal), ())
  return choices, Extension in parts


def _convert(kind, value, where):
  if dataclasses.is_dataclass(kind):
    return _build(kind, value, where)
  if typing.get_origin(kind) is tuple:
    if isinstance(value, int):
      value = (value,)
    if not isinstance(value, (list, tuple)) or any(
        type(v) is not int or abs(v) > _MAX_INT for v in value):
      raise ValueError(f"{where} is {value!r}; expected a tuple of integers of 32 bits.")
    return tuple(value)
  choices, extensible = _choices(kind)
  if choices:
    if value in choices or (extensible and isinstance(value, str) and extension.is_path(value)):
      return value
    other = " or an extension as 'module:name'" if extensible else ""
    raise ValueError(f"{where} is {value!r}; expected one of {', '.join(choices)}{other}.")
  if kind is float and type(value) is int:
    value = float(value)
  if type(value) is not kind:
    raise ValueError(f"{where} is {value!r}; expected {kind.__name__}.")
  if kind is int and abs(value) > _MAX_INT:
    raise ValueError(f"{where} is {value}; expected an integer of 32 bits, at most {_MAX_INT}.")
  if kind is float and not math.isfinite(value):
    raise ValueError(f"{where} is {value}; expected a finite number.")
  if kind is float and value and not _MIN_FLOAT <= abs(value) <= 1 / _MIN_FLOAT:
    raise ValueError(f"{where} is {value}; expected 0 or a number between {_MIN_FLOAT} and "
                     f"{1 / _MIN_FLOAT:g} in size, which float32 can hold.")
  return value
