"""Unreadable examples: replaced in training, left out in evaluation, up to a limit."""

import numpy as np
from absl.testing import absltest, parameterized

from ntm.data import pipeline, unreadable
from tests.helpers.numbered import Numbers, labels


class _Damaged(Numbers):
  """Some cannot be read."""

  def __init__(self, count, broken=()):
    super().__init__(count)
    self.broken = set(broken)
    self.names = [f"{i}.png" for i in range(count)]

  def __getitem__(self, index):
    if index in self.broken:
      raise unreadable.UnreadableError(self.names[index], "it is broken", f"/data/{index}.png")
    return super().__getitem__(index)


class UnreadableTest(parameterized.TestCase):

  def test_the_next_readable_one_stands_for_each(self):
    sound = pipeline.train_iterator(_Damaged(20), 4, 0)
    damaged = pipeline.train_iterator(_Damaged(20, {5, 6, 19}), 4, 0)
    expected = labels(sound, 15)
    for index, substitute in ((5, 7), (6, 7), (19, 0)):
      expected[expected == index] = substitute
    np.testing.assert_array_equal(labels(damaged, 15), expected)
    self.assertEqual(damaged.unreadable, dict.fromkeys(["5.png", "6.png", "19.png"],
                                                       "it is broken"))

  @parameterized.parameters(1, 2)
  def test_a_position_restores_on_any_number_of_hosts(self, hosts):
    whole = labels(pipeline.train_iterator(_Damaged(23, {1, 22}), 8, 3), 12)
    parts = []
    for rows in np.split(np.arange(8), hosts):
      draw = lambda rows=rows: pipeline.train_iterator(_Damaged(23, {1, 22}), 8, 3, rows)
      first = draw()
      half, state = labels(first, 5), first.get_state()
      second = draw()
      second.set_state(state)
      parts.append(np.concatenate([half, labels(second, 7)]))
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)

  def test_nothing_readable_is_one_error_that_names_the_first(self):
    iterator = pipeline.train_iterator(_Damaged(300, range(300)), 4, 0)
    with self.assertRaisesRegex(ValueError, r"none of 100 examples in a row .*it is broken\), .* "
                                "and 95 more. Check the files and the storage"):
      next(iterator)

  @parameterized.parameters((1, 1), (50, 1), (100, 1), (250, 2), (10_000, 100))
  def test_one_percent_and_at_least_one_may_be(self, count, limit):
    self.assertEqual(unreadable.max_unreadable(count), limit)

  def test_retrying_finds_those_that_are_still_unreadable(self):
    source = _Damaged(9, {2, 4})
    replacing = unreadable.Replacing(source)
    replacing.retry(["2.png", "3.png", "elsewhere.png"])
    self.assertEqual(list(replacing.unreadable), ["2.png"])

  def test_evaluation_leaves_them_out_up_to_the_limit(self):
    with self.assertLogs("ntm", "WARNING") as logs:
      batches = pipeline.ordered_batches(_Damaged(200, {0, 9}), 64, range(200))
    self.assertIn(r"2 of 200 examples cannot be read: 0.png (it is broken), 9.png", logs.output[0])
    np.testing.assert_array_equal(np.concatenate([b["label"] for b in batches]),
                                  [i for i in range(200) if i not in (0, 9)])
    with self.assertRaisesRegex(ValueError, r"3 of 200 .*7.png .*At most 2 may be left out"):
      pipeline.ordered_batches(_Damaged(200, {0, 7, 9}), 64, range(200))


if __name__ == "__main__":
  absltest.main()
