"""Laws of round trips, log-determinants, causality and the initial map."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from ntm.testing import arguments, jacobian

Bijection = Callable[[jax.Array], tuple[jax.Array, jax.Array]]


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
  x = arguments.batch(x)
  tolerances = arguments.tolerances(x, atol, rtol)
  u, log_det_B = arguments.evaluate("forward", forward, x)
  restored, inverse_log_det_B = arguments.evaluate("inverse", inverse, u)
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
  x = arguments.batch(x)
  tolerances = arguments.tolerances(x, atol, rtol)
  u, log_det_B = arguments.evaluate("forward", forward, x)
  if u.size != x.size:
    raise AssertionError(f"u has shape {u.shape} and x {x.shape}; expected as many entries per "
                         "example.")
  jacobians = jacobian.jacobians("forward", forward, x, mode)
  sign_B, expected_B = np.linalg.slogdet(jacobians.astype(np.float64))
  if not sign_B.all():
    raise AssertionError(
        f"The Jacobian of example {np.argmin(np.abs(sign_B))} is singular; expected an invertible "
        "map: look for an entry of x that u does not depend on, or two of u that are equal.")
  _assert_close("log_det", log_det_B, expected_B, *tolerances)


def assert_causal(function: Callable, x: jax.Array, *, strict: bool = False,
                  mode: str = "reverse") -> None:
  """Asserts that output token n reads input tokens 0..n alone, by exactly zero gradients.

  Args:
    function: x → u or (u, log_det_B), with tokens along axis 1 of both x and u.
    x: a batch, [B, N, ...].
    strict: token n reads only tokens 0..n-1, as the mean and scale of a token do.
    mode: of differentiation, "reverse", or "forward" for functions with a `while_loop`.
  """
  dependence_BNN = jacobian.token_dependence(function, x, mode=mode)
  allowed_NN = np.tri(dependence_BNN.shape[1], k=-1 if strict else 0, dtype=bool)
  leaks_BNN = np.where(allowed_NN, 0, dependence_BNN)
  if leaks_BNN.any():
    b, n, m = np.unravel_index(leaks_BNN.argmax(), leaks_BNN.shape)
    raise AssertionError(
        f"Output token {n} depends on input token {m} in example {b}: the largest derivative is "
        f"{leaks_BNN[b, n, m]:.3g}, expected exactly 0 from token {n if strict else n + 1} on. "
        f"Pairs of tokens that leak: {np.count_nonzero(leaks_BNN.any(axis=0))}.")


def assert_starts_as_identity(forward: Bijection, x: jax.Array) -> None:
  """Asserts that u == x and log_det_B == 0 exactly.

  Args:
    forward: x → (u, log_det_B), with the parameters of initialisation.
    x: a batch, [B, ...].
  """
  x = arguments.batch(x)
  u, log_det_B = arguments.evaluate("forward", forward, x)
  _assert_close("u of the initial map", u, x, 0.0, 0.0)
  _assert_close("log_det of the initial map", log_det_B, jnp.zeros_like(log_det_B), 0.0, 0.0)


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
