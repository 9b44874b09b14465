"""Grid points through an invertible block, losslessly and at the cost of its Jacobian.

An entry x of the grid stands for the cell [x, x + 1), which the monotone map f of that entry, given
the entries that its network reads, takes to the points of a grid R times finer

  F(x) <= z < F(x + 1),   F(x) = ceil(R f(x)),   n = F(x + 1) - F(x) of them.

Encoding pops z, one of n, and pushes its last digit z mod R; u = z // R is the entry after the
block. In all log2 n - log2 R bits are taken, which is log2 of the mean slope of the cell: exactly
the volume that the block changes. Cells are disjoint, so z gives x back. This needs no
linearisation; only n >= 1, hence slopes well above 1 / R.

Entries are decoded in an order in which those that a network reads come before. It runs on arrays
of one shape in both directions, and what it has not decoded yet cannot change what it gives (a
causal mask multiplies it by zero), so that both directions see the same float64 maps, bit by bit.
"""

from collections.abc import Callable, Sequence

import numpy as np

from ntm.likelihood.ans import Stack

FINE_BITS = 20  # log2 R
_FINE = 1 << FINE_BITS
_MOST_MOVES = 64  # From the inverse in float64 to the cell that holds z.


def encode(stack: Stack, x_D: np.ndarray, order: Sequence[Sequence[int]],
           edges: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
  """Takes grid points forward through a block.

  Args:
    stack: gives and takes the bits.
    x_D: int64 grid points.
    order: groups of entries, each group reading those before it alone.
    edges: x_D → R f(x) in float64, the maps being those that x gives, [2, D] at x and x + 1.

  Returns:
    int64 grid points u_D.

  Raises:
    ValueError: a map that is too flat to be coded.
  """
  low_D, high_D = _ceil(edges(x_D))
  if (high_D <= low_D).any():
    raise ValueError("a map of the transporter is too flat to be coded, with a slope below "
                     f"2^-{FINE_BITS}; expected a transporter that has not collapsed.")
  u_D = np.empty_like(x_D)
  for group in reversed(order):
    digits = []
    for i in reversed(group):
      z = int(low_D[i]) + stack.pop_uniform(int(high_D[i] - low_D[i]))
      u_D[i] = z >> FINE_BITS
      digits.append(z & _FINE - 1)
    for digit in digits:
      stack.push_uniform(digit, _FINE)
  return u_D


def decode(stack: Stack, u_D: np.ndarray, order: Sequence[Sequence[int]],
           edges: Callable[[np.ndarray], np.ndarray],
           inverse: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
  """`encode` undone.

  Args:
    stack: as it left it.
    u_D: what it returned.
    order: as there.
    edges: as there.
    inverse: (x_D, z_D) → f^-1(z / R) in float64, up to rounding, the maps being those of x.

  Returns:
    int64 grid points x_D.

  Raises:
    ValueError: a code that no input has: of another model, or of another machine.
  """
  x_D = u_D.copy()
  for group in order:
    z_D = u_D << FINE_BITS
    # Popped in the order in which the last of them was pushed.
    for i in group:
      z_D[i] += stack.pop_uniform(_FINE)
    x_D[group] = np.floor(inverse(x_D, z_D))[group].astype(np.int64)
    for _ in range(_MOST_MOVES):
      low_D, high_D = _ceil(edges(x_D))
      move = (z_D >= high_D).astype(np.int64) - (z_D < low_D)
      if not move[group].any():
        break
      x_D[group] += move[group]
    else:
      raise ValueError("the code leads to a state that no image has; expected the model and the "
                       "machine that wrote it.")
    for i in group:
      stack.push_uniform(int(z_D[i] - low_D[i]), int(high_D[i] - low_D[i]))
  return x_D


def _ceil(values):
  return np.ceil(values).astype(np.int64)
