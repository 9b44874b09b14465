import sys
import types
from unittest import mock

from absl import logging
from absl.testing import absltest

from ntm.training import storage


class AbandonedReadsTest(absltest.TestCase):

  def test_only_what_orbax_gave_up_is_silent(self):
    seen = []
    with mock.patch.object(sys, "unraisablehook", seen.append):
      for _ in range(2):
        storage.ignore_abandoned_reads()
      for text in ("Event loop is closed", "another failure"):
        sys.unraisablehook(types.SimpleNamespace(exc_value=RuntimeError(text)))
    self.assertEqual([str(unraisable.exc_value) for unraisable in seen], ["another failure"])


class ReadOnlyTest(absltest.TestCase):

  def test_a_warning_of_what_was_asked_for_is_silent_and_others_are_not(self):
    with self.assertLogs("absl", "WARNING") as logs:
      with storage.without_read_only_warning():
        logging.warning("Given directory is read only=%s", "/run")
        logging.warning("another warning")
      logging.warning("Given directory is read only=%s", "/run")
    self.assertLen(logs.output, 2)
    self.assertIn("another warning", logs.output[0])


if __name__ == "__main__":
  absltest.main()
