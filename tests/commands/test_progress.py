import time

from absl.testing import absltest

from ntm.commands import progress


class ProgressTest(absltest.TestCase):

  def test_says_how_far_and_how_long(self):
    with (absltest.mock.patch.object(progress, "_SECONDS", 0.05),
          self.assertLogs("ntm", "INFO") as logs):
      with progress.progress("weighing") as report:
        time.sleep(0.3)  # As one long call.
        report(1, 4)
        time.sleep(0.3)
        report(4, 4)
        time.sleep(0.3)  # What is done with all of them.
    self.assertRegex(logs.output[0], "weighing: 0:00:00 so far")
    self.assertRegex("\n".join(logs.output), r"weighing: 1 of 4, 0:00:0\d left\n")
    self.assertRegex(logs.output[-1], r"weighing: 4 of 4, 0:00:0\d so far")

  def test_says_that_the_first_call_compiles(self):
    with (absltest.mock.patch.object(progress, "_SECONDS", 0.05),
          self.assertLogs("ntm", "INFO") as logs):
      with progress.progress("sampling", compiles=True) as report:
        time.sleep(0.3)
        report(1, 4)
        time.sleep(0.3)
    self.assertRegex(logs.output[0], ":compiling and sampling: 0:00:00 so far$")
    self.assertRegex(logs.output[-1], r":sampling: 1 of 4, 0:00:0\d left$")

  def test_says_how_fast_and_no_total_that_is_not_known(self):
    with (absltest.mock.patch.object(progress, "_SECONDS", 0.05),
          self.assertLogs("ntm", "INFO") as logs):
      with progress.progress("encoding", "images") as report:
        report(7, 0)
        time.sleep(0.3)
        report(7, 14)
        time.sleep(0.3)
    self.assertRegex(logs.output[0], r"encoding: 7, \d+\.\d images/s$")
    self.assertRegex(logs.output[-1], r"encoding: 7 of 14, \d+\.\d images/s, 0:00:0\d left$")

  def test_says_nothing_of_what_is_quick_and_passes_errors_on(self):
    with self.assertNoLogs("ntm"), self.assertRaisesRegex(ValueError, "no"):
      with progress.progress("weighing") as report:
        report(1, 1)
        raise ValueError("no")


if __name__ == "__main__":
  absltest.main()
