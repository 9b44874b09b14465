"""What checks are made of: each failure names the value, what was expected and where."""


def require(ok, where, value, expected) -> None:
  """Raises ValueError unless `ok`."""
  if not ok:
    raise ValueError(f"config.{where} is {value!r}; expected {expected}.")


def unread(section, where, reader, **defaults) -> None:
  """Raises ValueError unless settings that nothing reads have their defaults."""
  for key, default in defaults.items():
    value = getattr(section, key)
    require(value == default, f"{where}.{key}", value,
            f"{default!r} without {reader}, which alone reads it")
