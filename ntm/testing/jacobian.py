"""Jacobians of every example by automatic differentiation, and what of them a token reads."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from ntm.testing import arguments


def jacobians(name: str, function: Callable, x: jax.Array, mode: str) -> np.ndarray:
  """Jacobian of each example's output in its own input, [B, output size, event size].

  Takes one derivative after the other: `jax.jacrev`, which takes all at once, returned wrong ones
  for a vmapped transporter on CPU (jaxlib 0.10.2).

  Args:
    name: of the function, in messages.
    function: x → u or (u, log_det_B).
    x: a batch, [B, ...].
    mode: of differentiation, "reverse", or "forward" for functions with a `while_loop`.

  Raises:
    AssertionError: a derivative that is not finite, or an example that depends on another one.
    ValueError: an unknown mode.
  """
  if mode not in ("reverse", "forward"):
    raise ValueError(f"mode={mode!r} is not supported; expected 'reverse' or 'forward'.")
  unit = lambda like, i: jnp.zeros(like.size, like.dtype).at[i].set(1).reshape(like.shape)
  output = lambda x: arguments.output(name, function, x)

  @jax.jit
  def of_all(x):
    if mode == "forward":
      derivative = lambda i: jax.jvp(output, (x,), (unit(x, i),))[1].reshape(-1)
      return jax.lax.map(derivative, jnp.arange(x.size)).T
    u, vjp = jax.vjp(output, x)
    return jax.lax.map(lambda i: vjp(unit(u, i))[0].reshape(-1), jnp.arange(u.size))

  batch_size, examples = len(x), np.arange(len(x))
  jacobian = np.asarray(of_all(x)).reshape(batch_size, -1, batch_size, x[0].size)
  if not np.isfinite(jacobian).all():
    raise AssertionError(
        f"The Jacobian of example {arguments.first_not_finite(jacobian)[0]} is not finite; look "
        "for sqrt, log or a division at 0, also in the branch that jnp.where does not take.")
  others_BB = np.abs(jacobian).max(axis=(1, 3)) * ~np.eye(batch_size, dtype=bool)
  if others_BB.any():
    other, b = np.unravel_index(others_BB.argmax(), others_BB.shape)
    raise AssertionError(f"Example {other} of the output depends on example {b} of the input: the "
                         f"largest derivative is {others_BB[other, b]:.3g}, expected exactly 0.")
  return jacobian[examples, :, examples]


def token_dependence(function: Callable, x: jax.Array, *, mode: str = "reverse") -> np.ndarray:
  """Returns the largest absolute derivative of output tokens in input tokens, [B, N, N].

  Entry [b, n, m] is that of output token n in input token m. Also asserts that no example depends
  on another one.

  Args:
    function: x → u or (u, log_det_B), with tokens along axis 1 of both x and u.
    x: a batch, [B, N, ...].
    mode: of differentiation, "reverse", or "forward" for functions with a `while_loop`.
  """
  x = arguments.batch(x, "[B, N, ...]")
  shape = jax.eval_shape(lambda x: arguments.output("function", function, x), x).shape
  if shape[:2] != x.shape[:2]:
    raise AssertionError(f"The output has shape {shape}; expected the batch and the tokens of x "
                         f"first, {x.shape[:2]}.")
  length = x.shape[1]
  split = jacobians("function", function, x, mode).reshape(
      len(x), length, -1, length, x[0, 0].size)
  return np.abs(split).max(axis=(2, 4))
