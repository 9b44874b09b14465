"""A stack gives back what it was given, and takes as many bits as the symbols are worth."""

import math
import random

from absl.testing import absltest

from ntm.likelihood.ans import Stack


class StackTest(absltest.TestCase):

  def test_symbols_come_back_in_the_opposite_order(self):
    rng, stack = random.Random(0), Stack(12345)
    symbols = [(rng.randrange(n), n) for n in (rng.randrange(1, 1 << 40) for _ in range(500))]
    for symbol, total in symbols:
      stack.push_uniform(symbol, total)
    for symbol, total in reversed(symbols):
      self.assertEqual(stack.pop_uniform(total), symbol)
    self.assertEqual(stack.value, 12345)

  def test_popping_and_pushing_back_restores_any_stack(self):
    for value in (0, 1, 7, 1 << 200):
      stack = Stack(value)
      drawn = [stack.pop_uniform(n) for n in (3, 1000, 17)]
      for symbol, total in zip(reversed(drawn), (17, 1000, 3)):
        stack.push_uniform(symbol, total)
      self.assertEqual(stack.value, value)

  def test_a_symbol_costs_its_information(self):
    stack = Stack(1 << 100)
    for _ in range(1000):
      stack.push(3, 5, 16)
    self.assertAlmostEqual(math.log2(stack.value) - 100, 1000 * math.log2(16 / 5), delta=1e-6)
    self.assertEqual(stack.least_bits, 101)


if __name__ == "__main__":
  absltest.main()
