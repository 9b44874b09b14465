"""Laws of invertible maps, as assertions for tests.

A law takes plain functions, so it applies to any module once its parameters and
condition are filled in:

  forward = jax.jit(lambda x: module.apply(params, x, method="forward_and_log_det"))
  inverse = jax.jit(lambda u: module.apply(params, u, method="inverse_and_log_det"))
  testing.assert_round_trip(forward, inverse, x)
  testing.assert_log_det_matches_jacobian(forward, x)

`forward` maps x [B, ...] to u [B, ...] and log_det [B], ``log |det du/dx|`` of
every example in nats, summed over the event; `inverse` maps u back, with the
log-det of its own direction. x is float32 or float64, and tolerances follow its
type unless given: an error may reach ``atol + rtol * |expected|``. A flow that
starts as the identity obeys most laws even with wrong code, so use parameters
other than the initial ones.

An AssertionError says that a function breaks a law, a ValueError that an argument
of the law itself is wrong.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

Bijection = Callable[[jax.Array], tuple[jax.Array, jax.Array]]

_TOLERANCES = {"float32": 1e-5, "float64": 1e-10}  # Both absolute and relative.
_INTEGRAL_TOLERANCES = {"float32": 1e-4, "float64": 1e-6}
_POINTS = {1: 2001, 2: 201, 3: 61}  # Per axis, by dimension.


def assert_round_trip(forward: Bijection, inverse: Bijection, x: jax.Array, *,
                      atol: float | None = None, rtol: float | None = None) -> None:
  """Asserts that `inverse` undoes `forward` and that their log-dets add to zero.

  Args:
    forward: x → (u, log_det_B).
    inverse: u → (x, log_det_B).
    x: a batch, [B, ...].
    atol: 1e-5 for float32 and 1e-10 for float64 unless given.
    rtol: the same.
  """
  x = _checked(x)
  u, log_det_B = _evaluate("forward", forward, x)
  restored, inverse_log_det_B = _evaluate("inverse", inverse, u)
  tolerances = _tolerances(x, atol, rtol)
  _assert_close("inverse(forward(x))", restored, x, *tolerances)
  _assert_close("log_det of inverse", inverse_log_det_B, -log_det_B, *tolerances)


def assert_log_det_matches_jacobian(forward: Bijection, x: jax.Array, *, atol: float | None = None,
                                    rtol: float | None = None, mode: str = "reverse") -> None:
  """Asserts that log_det_B is ``log |det du/dx|`` of every example, by automatic differentiation.

  Also asserts that no example depends on another one, without which log_det_B has no meaning. The
  Jacobian has (size of an event)^2 entries per example: keep events small.

  Args:
    forward: x → (u, log_det_B), or an inverse.
    x: a batch, [B, ...].
    atol: 1e-5 for float32 and 1e-10 for float64 unless given.
    rtol: the same.
    mode: of differentiation, "reverse", or "forward" for functions with a `while_loop`.
  """
  x = _checked(x)
  u, log_det_B = _evaluate("forward", forward, x)
  if u.size != x.size:
    raise AssertionError(f"u has shape {u.shape} and x {x.shape}; expected events of equal size.")
  jacobians = _jacobians(lambda x: forward(x)[0], x, mode)
  sign_B, expected_B = np.linalg.slogdet(jacobians.astype(np.float64))
  if not sign_B.all():
    raise AssertionError(f"The Jacobian of example {np.argmin(np.abs(sign_B))} is singular.")
  _assert_close("log_det", log_det_B, expected_B, *_tolerances(x, atol, rtol))


def token_dependence(function: Callable, x: jax.Array, *, mode: str = "reverse") -> np.ndarray:
  """Returns the largest absolute derivative of output tokens in input tokens, [B, N, N].

  Entry [b, n, m] is that of output token n in input token m. Also asserts that no example depends
  on another one.

  Args:
    function: x → u or (u, log_det_B), with tokens along axis 1 of both x and u.
    x: a batch, [B, N, ...].
    mode: of differentiation, "reverse", or "forward" for functions with a `while_loop`.
  """
  x = _checked(x, "[B, N, ...]")

  def output(x):
    out = function(x)
    return out[0] if isinstance(out, tuple) else out

  shape = jax.eval_shape(output, x).shape
  if shape[:2] != x.shape[:2]:
    raise AssertionError(f"The output has shape {shape}; expected the batch and the tokens of x "
                         f"first, {x.shape[:2]}.")
  length = x.shape[1]
  split = _jacobians(output, x, mode).reshape(len(x), length, -1, length, x[0, 0].size)
  return np.abs(split).max(axis=(2, 4))


def assert_causal(function: Callable, x: jax.Array, *, strict: bool = False,
                  mode: str = "reverse") -> None:
  """Asserts that output token n reads input tokens 0..n alone, by exactly zero gradients.

  Args:
    function: x → u or (u, log_det_B), with tokens along axis 1 of both x and u.
    x: a batch, [B, N, ...].
    strict: token n reads only tokens 0..n-1, as the mean and scale of a token do.
    mode: of differentiation, "reverse", or "forward" for functions with a `while_loop`.
  """
  dependence_BNN = token_dependence(function, x, mode=mode)
  allowed_NN = np.tri(dependence_BNN.shape[1], k=-1 if strict else 0, dtype=bool)
  leaks_BNN = np.where(allowed_NN, 0, dependence_BNN)
  if leaks_BNN.any():
    b, n, m = np.unravel_index(leaks_BNN.argmax(), leaks_BNN.shape)
    raise AssertionError(
        f"Output token {n} depends on input token {m} in example {b}: the largest derivative is "
        f"{leaks_BNN[b, n, m]:.3g}, expected exactly 0 from token {n if strict else n + 1} on. "
        f"Pairs of tokens that leak: {np.count_nonzero(leaks_BNN.any(axis=0))}.")


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
  if dimension not in _POINTS:
    raise ValueError(f"dimension={dimension} is not supported because the grid has "
                     "points**dimension points; expected 1, 2 or 3.")
  points = _POINTS[dimension] if points is None else points
  low, high = (np.broadcast_to(np.asarray(end, np.float64), dimension) for end in (low, high))
  if points < 3 or not (np.isfinite(high - low) & (low < high)).all():
    raise ValueError(f"low={low.tolist()}, high={high.tolist()}, points={points}; expected finite "
                     "ends with low < high and at least 3 points.")
  grid = np.stack(np.meshgrid(*np.linspace(low, high, points).T, indexing="ij"), axis=-1)
  values = jnp.asarray(log_prob(jnp.asarray(grid.reshape(-1, dimension))))
  if values.shape != (points**dimension,) or values.dtype.name not in _TOLERANCES:
    raise AssertionError(f"log_prob has shape {values.shape} and type {values.dtype.name}; "
                         f"expected {(points**dimension,)}, one float32 or float64 per point.")
  with np.errstate(over="ignore"):
    density = np.exp(np.asarray(values, np.float64)).reshape(grid.shape[:-1])
  if not np.isfinite(density).all():
    worst = _not_finite(density)
    raise AssertionError(f"exp(log_prob) is {density[worst]} at x={grid[worst].tolist()}; expected "
                         "a finite density.")
  atol = _INTEGRAL_TOLERANCES[values.dtype.name] if atol is None else atol
  integral = density.sum() * np.prod((high - low) / (points - 1))
  if not abs(integral - 1) <= atol:
    border = density.copy()
    border[(slice(1, -1),) * dimension] = 0
    raise AssertionError(
        f"exp(log_prob) integrates to {integral:.9g}; expected 1 within atol={atol:g}, off by "
        f"{abs(integral - 1):.3g}. The largest density on the border from low={low.tolist()} to "
        f"high={high.tolist()} is {border.max():.3g}; widen them unless it is near 0, and raise "
        f"points={points} if the density changes much from one point to the next.")


def assert_starts_as_identity(forward: Bijection, x: jax.Array) -> None:
  """Asserts that u == x and log_det_B == 0 exactly.

  Args:
    forward: x → (u, log_det_B), with the parameters of initialisation.
    x: a batch, [B, ...].
  """
  x = _checked(x)
  u, log_det_B = _evaluate("forward", forward, x)
  _assert_close("u of the initial map", u, x, 0.0, 0.0)
  _assert_close("log_det of the initial map", log_det_B, jnp.zeros_like(log_det_B), 0.0, 0.0)


def _checked(x, axes="[B, ...]"):
  x = jnp.asarray(x)
  if x.ndim < axes.count(",") or not x.size or x.dtype.name not in _TOLERANCES:
    raise ValueError(f"x has shape {x.shape} and type {x.dtype.name}; expected {axes}, the batch "
                     "first and no axis empty, of type float32 or float64.")
  if not np.isfinite(x).all():
    raise ValueError(f"x is not finite at {_not_finite(x)}.")
  return x


def _evaluate(name, function, x):
  """(output, log_det_B), both checked."""
  out = function(x)
  if not isinstance(out, tuple) or len(out) != 2:
    raise AssertionError(f"{name} returns {type(out).__name__}; expected (output, log_det).")
  value, log_det_B = map(jnp.asarray, out)
  if value.shape[:1] != x.shape[:1] or log_det_B.shape != x.shape[:1]:
    raise AssertionError(f"{name} returns shapes {value.shape} and, of log_det, {log_det_B.shape}; "
                         f"expected the batch, {x.shape[:1]}, first and alone.")
  for part, array in ((f"The output of {name}", value), (f"log_det of {name}", log_det_B)):
    if jnp.promote_types(array.dtype, x.dtype) != array.dtype:
      raise AssertionError(f"{part} has type {array.dtype.name}; expected that of its input, "
                           f"{x.dtype.name}.")
    if not np.isfinite(array).all():
      raise AssertionError(f"{part} is not finite in example {_not_finite(array)[0]}.")
  return value, log_det_B


def _jacobians(function, x, mode):
  """Jacobian of each example's output in its own input, [B, output size, event size].

  Takes one derivative after the other: `jax.jacrev`, which takes all at once, returned wrong ones
  for a vmapped transporter on CPU (jaxlib 0.10.2).
  """
  if mode not in ("reverse", "forward"):
    raise ValueError(f"mode={mode!r} is not supported; expected 'reverse' or 'forward'.")
  unit = lambda like, i: jnp.zeros(like.size, like.dtype).at[i].set(1).reshape(like.shape)

  @jax.jit
  def of_all(x):
    if mode == "forward":
      derivative = lambda i: jax.jvp(function, (x,), (unit(x, i),))[1].reshape(-1)
      return jax.lax.map(derivative, jnp.arange(x.size)).T
    u, vjp = jax.vjp(function, x)
    return jax.lax.map(lambda i: vjp(unit(u, i))[0].reshape(-1), jnp.arange(u.size))

  batch_size, examples = len(x), np.arange(len(x))
  jacobian = np.asarray(of_all(x)).reshape(batch_size, -1, batch_size, x[0].size)
  if not np.isfinite(jacobian).all():
    raise AssertionError(f"The Jacobian of example {_not_finite(jacobian)[0]} is not finite.")
  others_BB = np.abs(jacobian).max(axis=(1, 3)) * ~np.eye(batch_size, dtype=bool)
  if others_BB.any():
    other, b = np.unravel_index(others_BB.argmax(), others_BB.shape)
    raise AssertionError(f"Example {other} of the output depends on example {b} of the input: the "
                         f"largest derivative is {others_BB[other, b]:.3g}, expected exactly 0.")
  return jacobian[examples, :, examples]


def _tolerances(x, atol, rtol):
  default = _TOLERANCES[x.dtype.name]
  return default if atol is None else atol, default if rtol is None else rtol


def _assert_close(name, found, expected, atol, rtol):
  if found.shape != expected.shape:
    raise AssertionError(f"{name} has shape {found.shape}; expected {expected.shape}.")
  found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
  error = np.abs(found - expected)
  failed = ~(error <= atol + rtol * np.abs(expected))
  if failed.any():
    worst = np.unravel_index(np.where(failed, error, -1).argmax(), error.shape)
    entry = f" at {list(map(int, worst[1:]))}" if worst[1:] else ""
    raise AssertionError(
        f"{name} is {found[worst]:.9g} in example {worst[0]}{entry}; expected "
        f"{expected[worst]:.9g} within atol={atol:g} and rtol={rtol:g}, off by {error[worst]:.3g}. "
        f"Examples that fail: {len(set(np.nonzero(failed)[0]))} of {len(failed)}.")


def _not_finite(array):
  """Index of the first entry that is not finite."""
  return tuple(map(int, np.argwhere(~np.isfinite(array))[0]))
