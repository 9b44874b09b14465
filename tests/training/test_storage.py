import sys
import types
from unittest import mock

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


if __name__ == "__main__":
  absltest.main()
