"""Parts of a run that live outside of `ntm`, named "module:name" in its configuration."""

import importlib
import inspect
import os
import sys
from typing import Any, NewType

Extension = NewType("Extension", str)  # The type of a field that may be "module:name".


def is_path(value: str) -> bool:
  """Whether a value names something outside of `ntm`."""
  return ":" in value


def named_in(config: Any) -> dict[str, str]:
  """{key: "module:name"} of what a Config takes from outside of `ntm`."""
  values = {"model.transporter.kind": config.model.transporter.kind,
            "model.backbone.kind": config.model.backbone.kind,
            "data.source": config.data.source, "train.objective": config.train.objective}
  return {key: value for key, value in values.items() if is_path(value)}


def load(path: str) -> Any:
  """What "module:name" names.

  Modules are found as Python finds them, then in the current directory.

  Raises:
    ValueError: a module or name that does not exist, something that cannot be called, or a
      module that fails to import.
  """
  module, _, name = path.partition(":")
  if os.getcwd() not in sys.path:
    sys.path.append(os.getcwd())  # A command has the directory of its script there instead.
  try:
    found = importlib.import_module(module)
  except ModuleNotFoundError as error:
    if error.name != module.partition(".")[0] and error.name != module:
      raise ValueError(f"{path!r} cannot be imported: its module needs {error.name!r}, which is "
                       "not installed.") from error
    raise ValueError(f"{path!r} cannot be imported ({error}); start where {module} can be found, "
                     "or put its directory on PYTHONPATH.") from error
  except Exception as error:  # Whatever code of the module raises.
    raise ValueError(f"{path!r} cannot be imported: its module fails with "
                     f"{type(error).__name__}: {error}.") from error
  if not callable(getattr(found, name, None)):
    problem = ("cannot be called" if hasattr(found, name) else "does not exist")
    raise ValueError(f"{path!r} is not a function or class of {found.__file__}: it {problem}; "
                     "correct the name.")
  return getattr(found, name)


def call(path: str, *args) -> Any:
  """Calls what "module:name" names.

  Raises:
    ValueError: as `load`; or it cannot be called with these arguments.
  """
  function = load(path)
  try:
    inspect.signature(function).bind(*args)
  except TypeError as error:
    kinds = ", ".join(type(arg).__name__ for arg in args)
    raise ValueError(f"{path!r} cannot be called with the arguments ({kinds}): {error}; "
                     "make it take these, see docs/extending.md.") from error
  return function(*args)
