import pathlib
import tempfile
from unittest import mock

from absl.testing import absltest

from ntm.training import metrics
from tests.helpers import buckets


class WriterTest(absltest.TestCase):

  def test_lines_after_the_resumed_step_are_dropped(self):
    workdir = tempfile.mkdtemp()
    path = pathlib.Path(workdir) / "metrics.jsonl"
    for damaged in ('{"step": 5, "a"', "5", '{"a": 3}'):
      path.write_text('{"step": 2, "a": 1}\n{"step": 4, "a": 2}\n' + damaged)
      metrics.Writer(workdir, 2).close()
      self.assertEqual(metrics.read(workdir), [{"step": 2, "a": 1}])

  def test_on_a_disk_every_line_is_written_at_once(self):
    workdir = tempfile.mkdtemp()
    writer = metrics.Writer(workdir, 0)
    for step in (1, 2):
      writer.scalars(step, {"a": step})
      self.assertEqual(metrics.read(workdir)[-1], {"step": step, "a": step})
    writer.close()


class BucketTest(absltest.TestCase):

  def setUp(self):
    super().setUp()
    self.bucket = self.enter_context(buckets.in_memory())
    # TensorFlow, which writes the events, would connect to the real bucket.
    self.enter_context(mock.patch.dict("sys.modules", {"clu": None}))

  def _open(self, first_step=0):
    with self.assertLogs("ntm", "WARNING"):
      return metrics.Writer("gs://bucket/run", first_step)

  def _write(self, writer, steps):
    """Writes lines, and returns how often the object was written meanwhile."""
    with mock.patch.object(self.bucket, "open", wraps=self.bucket.open) as opened:
      for step in steps:
        writer.scalars(step, {"a": step})
    return opened.call_count

  def _steps(self):
    return [line["step"] for line in metrics.read("gs://bucket/run")]

  def test_lines_are_written_together_before_a_checkpoint(self):
    writer = self._open()
    self.assertEqual(self._write(writer, range(1, 101)), 0)
    self.assertEmpty(self._steps())
    writer.flush()
    self.assertEqual(self._steps(), list(range(1, 101)))
    with mock.patch.object(self.bucket, "open", wraps=self.bucket.open) as opened:
      writer.flush()  # There is nothing new.
      self.assertEqual(opened.call_count, 0)
    self._write(writer, [101])
    writer.close()
    self.assertEqual(self._steps(), list(range(1, 102)))

  def test_a_resumed_run_continues_after_its_checkpoint(self):
    writer = self._open()
    self._write(writer, range(1, 7))
    writer.flush()
    self._write(writer, [7])  # Lost with the process.
    writer = self._open(first_step=4)
    self._write(writer, [5, 6])
    writer.close()
    self.assertEqual(self._steps(), [1, 2, 3, 4, 5, 6])

  def test_the_curves_are_of_all_lines(self):
    writer = self._open()
    writer.scalars(1, {"train/nats_per_dim": 2.0})
    writer.curves()
    self.assertEqual(self._steps(), [1])
    self.assertEqual(self.bucket.cat("gs://bucket/run/curves.png")[:4], b"\x89PNG")


if __name__ == "__main__":
  absltest.main()
