"""Parts of a run that live outside of `ntm`, named "module:name" in its configuration."""

import importlib
import os
import sys
from typing import Any


def is_path(value: str) -> bool:
  """Whether a value names something outside of `ntm`."""
  return ":" in value


def load(path: str) -> Any:
  """What "module:name" names.

  Modules are found as Python finds them, then in the current directory.

  Raises:
    ValueError: a module or name that does not exist, or a module that fails to import.
  """
  module, _, name = path.partition(":")
  if os.getcwd() not in sys.path:
    sys.path.append(os.getcwd())  # A command has the directory of its script there instead.
  try:
    return getattr(importlib.import_module(module), name)
  except ImportError as error:
    raise ValueError(f"{path!r} cannot be imported ({error}); start where {module} can be found, "
                     "or put its directory on PYTHONPATH.") from error
  except AttributeError as error:
    raise ValueError(f"the module of {path!r} has no {name!r}.") from error
