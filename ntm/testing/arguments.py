"""What the arguments of a law, and the functions that it is about, must satisfy.

A wrong argument is a ValueError, a function that returns the wrong thing an
AssertionError; both name the value, what was expected and the next step.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

TOLERANCES = {"float32": 1e-5, "float64": 1e-10}  # Both absolute and relative.
_TRACING_ERRORS = (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError,
                   jax.errors.TracerIntegerConversionError)


def batch(x: Any, axes: str = "[B, ...]") -> jax.Array:
  """x as an array of JAX.

  Raises:
    ValueError: not a batch of finite float32 or float64 of at least these axes, or float64 where
      JAX would make it float32.
  """
  if getattr(x, "dtype", None) == np.float64 and not jax.config.jax_enable_x64:
    raise ValueError("x has type float64, which JAX reads as float32 here; put the law and its "
                     "parameters in `with jax.enable_x64(True):`, or pass x.astype('float32').")
  try:
    x = jnp.asarray(x)
  except (TypeError, ValueError) as error:
    raise ValueError(f"x is of type {type(x).__name__}; expected an array, {axes}.") from error
  if x.ndim < axes.count(",") or not x.size or x.dtype.name not in TOLERANCES:
    raise ValueError(f"x has shape {x.shape} and type {x.dtype.name}; expected {axes}, the batch "
                     "first and no axis empty, of type float32 or float64.")
  if not np.isfinite(x).all():
    raise ValueError(f"x is not finite at {first_not_finite(x)}; expected finite numbers.")
  return x


def tolerances(x: jax.Array, atol: Any, rtol: Any) -> tuple[float, float]:
  """(atol, rtol), of the type of x where they are None; ValueError as `tolerance`."""
  default = TOLERANCES[x.dtype.name]
  return tolerance("atol", atol, default), tolerance("rtol", rtol, default)


def tolerance(name: str, value: Any, default: float) -> float:
  """A tolerance, or its default for None; ValueError unless it is finite and not negative."""
  if value is None:
    return default
  if not _is_number(value) or not 0 <= value < np.inf:
    raise ValueError(f"{name}={value!r}; expected a finite number, 0 or more, or None for the "
                     f"default {default:g}.")
  return float(value)


def whole_number(name: str, value: Any, least: int, most: int | None = None) -> int:
  """An integer in a range; ValueError if it is not."""
  whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
  if not whole or value < least or (most is not None and value > most):
    limits = f"of at least {least}" if most is None else f"from {least} to {most}"
    raise ValueError(f"{name}={value!r}; expected an integer {limits}.")
  return int(value)


def per_axis(name: str, value: float | Sequence[float], dimension: int) -> np.ndarray:
  """One float64 per axis, from one number or one per axis; ValueError for anything else."""
  numbers = np.asarray(value)
  if numbers.dtype.kind not in "fiu" or numbers.shape not in ((), (dimension,)):
    raise ValueError(f"{name}={value!r}; expected one number, or one per axis of "
                     f"dimension={dimension}.")
  return np.broadcast_to(numbers.astype(np.float64), dimension)


def call(name: str, function: Callable, x: jax.Array) -> Any:
  """function(x).

  Raises:
    ValueError: it cannot be called, or NumPy or Python reads numbers that JAX is tracing.
  """
  if not callable(function):
    raise ValueError(f"{name} is {function!r}; expected a function of x.")
  try:
    return function(x)
  except _TRACING_ERRORS as error:
    first = str(error).partition("\n")[0]
    raise ValueError(f"{name} cannot be traced by JAX ({first}); write it with jax.numpy in place "
                     "of NumPy, and jnp.where in place of `if`.") from error


def evaluate(name: str, function: Callable, x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """(output, log_det_B) of a function of x; AssertionError unless they are what they should be."""
  out = call(name, function, x)
  if not isinstance(out, tuple) or len(out) != 2:
    raise AssertionError(f"{name} returns {_described(out)}; expected (output, log_det).")
  try:
    value, log_det_B = map(jnp.asarray, out)
  except (TypeError, ValueError) as error:
    kinds = " and ".join(type(part).__name__ for part in out)
    raise AssertionError(f"{name} returns {kinds}; expected two arrays.") from error
  if value.shape[:1] != x.shape[:1] or log_det_B.shape != x.shape[:1]:
    raise AssertionError(f"{name} returns an output of shape {value.shape} and log_det of shape "
                         f"{log_det_B.shape}; expected ({len(x)}, ...) and ({len(x)},), one "
                         "log_det per example.")
  for part, array in ((f"The output of {name}", value), (f"log_det of {name}", log_det_B)):
    if jnp.promote_types(array.dtype, x.dtype) != array.dtype:
      raise AssertionError(f"{part} has type {array.dtype.name}; expected that of its input, "
                           f"{x.dtype.name}.")
    if not np.isfinite(array).all():
      raise AssertionError(f"{part} is not finite in example {first_not_finite(array)[0]}; look "
                           "for an overflow of exp, a division by 0 or a log of 0.")
  return value, log_det_B


def output(name: str, function: Callable, x: jax.Array) -> jax.Array:
  """u of a function that returns u or (u, log_det_B); AssertionError for anything else."""
  out = call(name, function, x)
  if isinstance(out, tuple) and len(out) == 2:
    out = out[0]
  if not isinstance(out, jax.Array | np.ndarray):
    raise AssertionError(f"{name} returns {_described(out)}; expected u or (u, log_det).")
  return out


def first_not_finite(array: jax.Array | np.ndarray) -> tuple[int, ...]:
  """Index of the first entry that is not finite."""
  return tuple(map(int, np.argwhere(~np.isfinite(array))[0]))


def _is_number(value):
  numbers = np.asarray(value)
  return numbers.shape == () and numbers.dtype.kind in "fiu"


def _described(value):
  if isinstance(value, tuple):
    return f"a tuple of {len(value)}"
  return f"an array of shape {value.shape}" if hasattr(value, "shape") else type(value).__name__
