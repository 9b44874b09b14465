"""Families of checkpoints: what the converter has to know about one kind of model."""

import dataclasses
import difflib
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any

from ntm.conversion.mapping import Entry
from ntm.conversion.shapes import Shapes

PUBLISHED = {
    "flux2": "ntm.published.flux2.mapping:FAMILY",
    "sit": "ntm.published.sit.mapping:FAMILY",
    "tarflow": "ntm.published.tarflow.mapping:FAMILY",
    "autoencoder_kl": "ntm.published.autoencoders.mapping_kl:FAMILY",
    "autoencoder_flux2": "ntm.published.autoencoders.mapping_flux2:FAMILY",
    "inception": "ntm.published.inception.mapping:FAMILY",
    "qwen3": "ntm.published.qwen.mapping:QWEN3",
    "qwen2_5_vl": "ntm.published.qwen.mapping:QWEN2_5_VL",
}


@dataclasses.dataclass(frozen=True)
class Family:
  """One kind of checkpoint. An architecture is a dict of JSON values: the sizes of one model.

  Attributes:
    name: for messages and conversion.json.
    recognise: shapes of the tensors in a file → architecture, or None if the file is of
      another family. Raises ValueError for a file of the family with unsupported sizes.
    entries: architecture → the mapping.
    target_shapes: architecture → shapes of our parameters by path.
    ignored: architecture → {tensor of the file that the model does not use: reason}.
    run: architecture → config of the run whose parameters these are, so that they can be
      sampled and finetuned, or None if no config describes these sizes. Leave out for
      models that are not runs.
    prefix: path of these parameters within those of the run, with a final "/".
    configure: (what `recognise` gives, the JSON object of the `config.json` next to the file) →
      architecture, for models whose tensors do not show every setting; the file must then be
      there. Raises ValueError for settings that are not supported.
  """

  name: str
  recognise: Callable[[Shapes], dict[str, Any] | None]
  entries: Callable[[dict[str, Any]], list[Entry]]
  target_shapes: Callable[[dict[str, Any]], Shapes]
  ignored: Callable[[dict[str, Any]], Mapping[str, str]] = lambda architecture: {}
  run: Callable[[dict[str, Any]], dict[str, Any] | None] | None = None
  prefix: str = ""
  configure: Callable[[dict[str, Any], Mapping[str, Any]], dict[str, Any]] | None = None


def get(name: str) -> Family:
  """The family of that name; raises ValueError if there is none.

  The name is one of PUBLISHED, or the Python path "module:name" of a Family, which then gets
  this path as its name.
  """
  if ":" not in name and name not in PUBLISHED:
    near = difflib.get_close_matches(name, PUBLISHED, n=1, cutoff=0.0)[0]
    raise ValueError(f"unknown family {name!r}; did you mean {near!r}? Expected one of "
                     f"{', '.join(PUBLISHED)}, or MODULE:NAME.")
  try:
    family = pkgutil.resolve_name(PUBLISHED.get(name, name))
  except (ImportError, AttributeError, ValueError) as error:
    raise ValueError(f"family {name!r} cannot be imported ({error}); expected MODULE:NAME, with "
                     "the module in this directory or on PYTHONPATH.") from error
  if not isinstance(family, Family):
    raise ValueError(f"family {name!r} is of type {type(family).__name__}; expected an "
                     "ntm.conversion.families.Family.")
  return dataclasses.replace(family, name=name)


def matching(shapes: Shapes) -> list[str]:
  """Names of the published families whose tensors a file has, by their names and shapes."""
  def matches(name):
    try:
      return get(name).recognise(shapes) is not None
    except ValueError:  # The names are those of the family, the shapes are not.
      return True

  return [name for name in PUBLISHED if matches(name)]
