"""Gaussians on a grid of width 2^-GRID_BITS, as cells for `ntm.likelihood.ans`.

Grid point i stands for [i, i + 1) 2^-GRID_BITS. The cell of i begins at

  C(i) = floor((Phi_i - Phi_low) / (Phi_high - Phi_low) (M - 4 (high - low))) + 4 (i - low),

which every point of [low, high) has a share of, however unlikely it is: at most log2 M bits.
All arithmetic is float64 of the C library, hence the same in both directions on one machine.
"""

import math

from ntm.likelihood.ans import Stack

GRID_BITS = 18
UNIT = 2.0 ** -GRID_BITS
LIMIT = 64 << GRID_BITS  # Of states that have no narrower bounds.
_TOTAL = 1 << 50
_LEAST = 4  # Above 1, as floor(Phi M) may fall by 1 where rounding makes Phi fall.


def push(stack: Stack, index: int, mean: float, scale: float, low: int = -LIMIT,
         high: int = LIMIT) -> None:
  """Adds grid point `index` under N(mean, scale^2) cut off to [low, high).

  Raises:
    ValueError: a point outside.
  """
  if not low <= index < high:
    raise ValueError(f"a state is {index * UNIT:.4g}; expected {low * UNIT:.4g} to "
                     f"{high * UNIT:.4g}: the model does not fit these images.")
  begin = _begin(mean, scale, low, high)
  start = begin(index)
  stack.push(start, begin(index + 1) - start, _TOTAL)


def pop(stack: Stack, mean: float, scale: float, low: int = -LIMIT, high: int = LIMIT) -> int:
  """Takes a grid point away: `push` undone, and a draw if the stack is random bits."""
  begin = _begin(mean, scale, low, high)
  point, first, last = stack.peek(_TOTAL), low, high
  while last - first > 1:
    middle = (first + last) // 2
    first, last = (middle, last) if begin(middle) <= point else (first, middle)
  start = begin(first)
  stack.pop(start, begin(first + 1) - start, _TOTAL)
  return first


def _begin(mean, scale, low, high):
  """C of a Gaussian."""
  factor = 1 / (scale * math.sqrt(2))
  phi = lambda index: 0.5 * math.erfc((mean - index * UNIT) * factor)
  phi_low, phi_high = phi(low), phi(high)
  free = _TOTAL - _LEAST * (high - low)
  if not phi_high > phi_low:
    raise ValueError(f"N({mean:.4g}, {scale:.4g}^2) has no mass from {low * UNIT:.4g} to "
                     f"{high * UNIT:.4g}; the model does not fit these images.")
  mass = phi_high - phi_low

  def begin(index):
    if index >= high:
      return _TOTAL
    share = min(max((phi(index) - phi_low) / mass, 0.0), 1.0)
    return int(share * free) + _LEAST * (index - low)

  return begin
