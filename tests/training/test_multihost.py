import os
import signal

from absl.testing import absltest, parameterized

from ntm.training import multihost


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
