"""The kinds of checkpoints there are tables for."""

import difflib
import importlib

from ntm.conversion.mapping import Family, Shapes

MODULES = {
    "flux2": "ntm.published.flux2.mapping",
    "sit": "ntm.published.sit.mapping",
    "tarflow": "ntm.published.tarflow.mapping",
    "autoencoder_kl": "ntm.published.autoencoders.mapping_kl",
    "autoencoder_flux2": "ntm.published.autoencoders.mapping_flux2",
}


def get(name: str) -> Family:
  """The family of that name.

  Raises:
    ValueError: there is none.
  """
  if name not in MODULES:
    near = difflib.get_close_matches(name, MODULES, n=1, cutoff=0.0)[0]
    raise ValueError(f"unknown family {name!r}; did you mean {near!r}? "
                     f"There are {', '.join(MODULES)}.")
  return importlib.import_module(MODULES[name]).FAMILY


def matching(shapes: Shapes) -> list[str]:
  """Names of the families whose tensors a file has, by their names and shapes."""
  def looks_like(name):
    try:
      return get(name).recognise(shapes) is not None
    except ValueError:  # The names are those of the family, the shapes are not.
      return True

  return [name for name in MODULES if looks_like(name)]
