"""What checks are made of: each failure names the value, what was expected and where."""

import shlex


def require(ok, where, value, expected) -> None:
  """Raises ValueError unless `ok`."""
  if not ok:
    raise ValueError(f"config.{where} is {value!r}; expected {expected}.")


def unread(section, where, reader, **defaults) -> None:
  """Raises ValueError unless settings that nothing reads have their defaults.

  The message names the first of them, and for the command line the flags that set them all.
  """
  wrong = {key: default for key, default in defaults.items() if getattr(section, key) != default}
  if wrong:
    first = next(iter(wrong))
    flags = " ".join(f"--config.{where}.{key}={shlex.quote(str(default))}"
                     for key, default in wrong.items())
    require(False, f"{where}.{first}", getattr(section, first),
            f"{wrong[first]!r} without {reader}, which alone reads it ({flags})")
