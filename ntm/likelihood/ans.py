"""An entropy coder that is a stack: one integer of any size (asymmetric numeral systems).

Pushing a symbol whose cell is [start, start + freq) of `total` makes the stack longer by
log2(total / freq) bits, and popping undoes it exactly. Popping from a stack of random bits draws a
symbol of that distribution, and pushing it back returns the bits: what bits-back coding needs.
The integer is never cut into words, so `total` may be any number and nothing is lost at the
boundaries; one operation costs time in proportion to the length of the stack.
"""


class Stack:
  """A stack of symbols.

  Attributes:
    value: the integer, at least 0.
    least_bits: the shortest that it has been, in bits.
  """

  def __init__(self, value: int = 0):
    self.value = value
    self.least_bits = value.bit_length()

  @property
  def bits(self) -> int:
    """Length in bits."""
    return self.value.bit_length()

  def push(self, start: int, freq: int, total: int) -> None:
    """Adds the symbol of the cell [start, start + freq) of `total`."""
    rest, offset = divmod(self.value, freq)
    self.value = rest * total + start + offset

  def peek(self, total: int) -> int:
    """The point of `total` in whose cell the uppermost symbol is."""
    return self.value % total

  def pop(self, start: int, freq: int, total: int) -> None:
    """Takes away the symbol of a cell that holds `peek(total)`."""
    rest, point = divmod(self.value, total)
    self.value = rest * freq + point - start
    self.least_bits = min(self.least_bits, self.value.bit_length())

  def push_uniform(self, symbol: int, total: int) -> None:
    """Adds one of `total` equally likely symbols."""
    self.push(symbol, 1, total)

  def pop_uniform(self, total: int) -> int:
    """Takes it away."""
    symbol = self.peek(total)
    self.pop(symbol, 1, total)
    return symbol
