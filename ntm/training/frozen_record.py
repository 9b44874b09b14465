"""frozen.json in a workdir: the frozen networks and the tokenizer that its model was trained with.

  {"autoencoder": {"path": "runs/vae", "checksum": 123456789}, "text_encoder": {...},
   "tokenizer": {"path": "qwen/tokenizer", "checksum": "1a2b..."}}

A network may move to another path, but its numbers must be the same: with another autoencoder
the latents are others, with another text encoder the features, with another tokenizer the words.
"""

import json
import os

from etils import epath

from ntm.config import Config
from ntm.conversion import converter
from ntm.data import captions
from ntm.losses import inputs
from ntm.training import multihost
from ntm.training import workdir as workdir_lib

FILE = "frozen.json"
_KEYS = {"autoencoder": "autoencoder.path", "text_encoder": "text.encoder",
         "tokenizer": "text.tokenizer"}

Record = dict[str, dict[str, str | int]]


def of(config: Config) -> Record:
  """The record of a config; errors as `converter.checksum`.

  A tokenizer that cannot be read is left out: what needs it says so.
  """
  record = {name: {"path": path, "checksum": converter.checksum(path)}
            for name, (_, path) in inputs.paths(config).items()}
  if config.text.tokenizer:
    try:
      tokenizer = captions.tokenizer(config.text, config.model.backbone)
    except (ValueError, ImportError):
      return record
    record["tokenizer"] = {"path": config.text.tokenizer, "checksum": tokenizer.checksum()}
  return record


def check(workdir: str | os.PathLike, config: Config) -> None:
  """Raises ValueError unless a run that has started here has the frozen networks of a config."""
  if not workdir_lib.started(workdir):
    return
  before, now = _read(workdir), of(config)
  # Workdirs of before tokenizers were recorded have none.
  unknown = set() if {"tokenizer"} <= before.keys() & now.keys() else {"tokenizer"}
  for name in sorted((before.keys() | now.keys()) - unknown):
    if _checksum(before, name) != _checksum(now, name):
      theirs, ours = (record.get(name, {}).get("path", "none") for record in (before, now))
      raise ValueError(
          f"{workdir} was trained with config.{_KEYS[name]} = {theirs}, and now it is another: "
          f"{ours}. "
          "Set it to a copy of the first, in config.json for commands that read a workdir; or "
          "train in a new workdir.")


def check_source(config: Config) -> None:
  """Raises ValueError if a run starts from a model of another autoencoder or text encoder.

  Only what both have is compared: converted models, and runs on latents or features that were
  prepared ahead, do not know theirs.

  Args:
    config: of the run; `config.finetune.source` is the workdir of the model it starts from.
  """
  source = config.finetune.source
  before, now = _read(source), of(config)
  for name in sorted(before.keys() & now.keys()):
    if _checksum(before, name) != _checksum(now, name):
      raise ValueError(
          f"config.{_KEYS[name]} is {now[name]['path']}, but the flow-matching model in {source} "
          f"was trained with another, {before[name]['path']}; set it to a copy of that, or train "
          "the flow-matching model with yours.")


def _read(workdir) -> Record:
  """The record of a workdir; empty without one."""
  path = epath.Path(workdir) / FILE
  try:
    record = json.loads(path.read_text()) if path.exists() else {}
    for name in record:
      _checksum(record, name)
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise ValueError(f"{path} is damaged ({error!r}); restore it from a copy, or start in a new "
                     "workdir.") from error
  return record


def _checksum(record, name):
  return record[name]["checksum"] if name in record else None


def write(workdir: str | os.PathLike, config: Config) -> None:
  """Writes the record, if there are frozen networks, on the primary process."""
  record = of(config)
  if record and multihost.is_primary_process():
    (epath.Path(workdir) / FILE).write_text(json.dumps(record, indent=1) + "\n")
