"""The law that a density integrates to 1."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ntm.testing import arguments

_TOLERANCES = {"float32": 1e-4, "float64": 1e-6}
_POINTS = {1: 2001, 2: 201, 3: 61}  # Per axis, by dimension.


def assert_normalised(log_prob: Callable[[jax.Array], jax.Array], dimension: int, *,
                      low: float | Sequence[float], high: float | Sequence[float],
                      points: int | None = None, atol: float | None = None) -> None:
  """Asserts that exp(log_prob) integrates to 1 over a box, as a sum over an even grid.

  The sum converges exponentially for a smooth density that vanishes at the border of the box.

  Args:
    log_prob: x [P, dimension] → log-density in nats [P]; called once, with the whole grid.
    dimension: 1, 2 or 3.
    low: lower end of the box, one number or one per axis.
    high: upper end of the box, one number or one per axis.
    points: grid points per axis; 2001, 201 or 61 in 1, 2 or 3 dimensions unless given.
    atol: of the integral; 1e-4 for float32 and 1e-6 for float64 unless given.
  """
  dimension = arguments.whole_number("dimension", dimension, 1, 3)
  points = arguments.whole_number("points", _POINTS[dimension] if points is None else points, 3)
  ends = low, high = [arguments.per_axis(name, end, dimension)
                      for name, end in (("low", low), ("high", high))]
  if not (np.isfinite(ends).all() and (low < high).all()):
    raise ValueError(f"low={low.tolist()}, high={high.tolist()}; expected finite ends with "
                     "low < high.")
  grid = np.stack(np.meshgrid(*np.linspace(low, high, points).T, indexing="ij"), axis=-1)
  values = jnp.asarray(arguments.call("log_prob", log_prob,
                                      jnp.asarray(grid.reshape(-1, dimension))))
  if values.shape != (points**dimension,) or values.dtype.name not in _TOLERANCES:
    raise AssertionError(f"log_prob has shape {values.shape} and type {values.dtype.name}; "
                         f"expected {(points**dimension,)}, one float32 or float64 per point.")
  with np.errstate(over="ignore"):
    density = np.exp(np.asarray(values, np.float64)).reshape(grid.shape[:-1])
  if not np.isfinite(density).all():
    worst = arguments.first_not_finite(density)
    raise AssertionError(f"exp(log_prob) is {density[worst]} at x={grid[worst].tolist()}; expected "
                         "a finite density: log_prob must be below inf everywhere in the box.")
  atol = arguments.tolerance("atol", atol, _TOLERANCES[values.dtype.name])
  integral = density.sum() * np.prod((high - low) / (points - 1))
  if not abs(integral - 1) <= atol:
    border = density.copy()
    border[(slice(1, -1),) * dimension] = 0
    raise AssertionError(
        f"exp(log_prob) integrates to {integral:.9g}; expected 1 within atol={atol:g}, off by "
        f"{abs(integral - 1):.3g}. The largest density on the border from low={low.tolist()} to "
        f"high={high.tolist()} is {border.max():.3g}; widen them unless it is near 0, and raise "
        f"points={points} if the density changes much from one point to the next.")
