import os
import signal
from unittest import mock

import jax
import numpy as np
from absl.testing import absltest, parameterized

from ntm.training import multihost


class AllgatherRowsTest(parameterized.TestCase):

  @parameterized.parameters("float64", "float32", "uint8", "bool", "int64")
  def test_rows_of_any_number_keep_their_digits(self, dtype):
    mine = (np.arange(12).reshape(3, 2, 2) / 7).astype(dtype)
    answers = iter([lambda count: np.stack([count, np.int32(1)]),  # The other process has one.
                    lambda rows: np.stack([rows, rows[::-1]])])
    with (mock.patch.object(jax, "process_count", lambda: 2),
          mock.patch.object(multihost.multihost_utils, "process_allgather",
                            lambda array: next(answers)(array))):
      found = multihost.allgather_rows(mine)
    self.assertEqual(found.dtype, mine.dtype)
    np.testing.assert_array_equal(found, np.concatenate([mine, mine[2:]]))

  def test_of_one_process_are_its_own(self):
    mine = np.zeros((2, 3))
    self.assertIs(multihost.allgather_rows(mine), mine)


class PreemptionTest(parameterized.TestCase):

  @parameterized.parameters(signal.SIGTERM, signal.SIGINT)
  def test_the_signal_is_given_at_the_next_step(self, signum):
    before = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]
    with multihost.Preemption(0) as asked_to_stop:
      self.assertEqual(asked_to_stop(1), 0)
      os.kill(os.getpid(), signum)
      self.assertEqual(asked_to_stop(2), signum)
      if signum == signal.SIGINT:  # The second one ends the process at any point.
        self.assertEqual(signal.getsignal(signal.SIGINT), signal.SIG_DFL)
    self.assertEqual([signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)], before)


if __name__ == "__main__":
  absltest.main()
