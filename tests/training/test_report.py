"""What the reports of a run say of a task whose metrics are known."""

import types
from unittest import mock

import flax.struct
import jax
import numpy as np
from absl.testing import absltest

from ntm.losses.metrics import Sums
from ntm.nn import partitioning
from ntm.training import report
from tests.helpers import tiny


@flax.struct.dataclass
class _Metrics(Sums):
  loss: np.ndarray
  count: np.ndarray

  def scalars(self):
    return {"error": float(self.loss / self.count), "step_1/error": 1.0, "other": 2.0}


def _batch(total, count):
  return _Metrics(np.float32(total), np.float32(count))


def _state(step):
  return types.SimpleNamespace(step=step, skipped=1, ema={}, healthy=True)


class ReporterTest(absltest.TestCase):

  def setUp(self):
    super().setUp()
    self.lines, self.pictures = [], []
    self.writer = types.SimpleNamespace(
        scalars=lambda step, values: self.lines.append((step, values)),
        picture=lambda step, name, picture: self.pictures.append((step, name, picture.ndim)))
    # The held-out metrics of a batch are those of its first example.
    self.enter_context(mock.patch.object(
        report.step_lib, "make_eval_step",
        lambda task, mesh: lambda params, frozen, batch, seed: _batch(*batch["sums"][0])))

  def _reporter(self, held_out=(), warning=lambda scalars: "", captions=(), **changes):
    config = tiny.config(**changes)
    task = types.SimpleNamespace(
        primary_metric="error", unit="mm", warning=warning,
        samples=lambda params, frozen, examples: {
            "raw": np.zeros((2, 3, *config.model.image_shape)),
            **({"text": np.zeros((1, 2, *config.model.image_shape))} if examples else {})})
    mesh = partitioning.make_mesh(config.mesh, jax.devices()[:1])
    return report.Reporter(task, config, mesh, self.writer, None, held_out, captions)

  def test_a_line_is_the_mean_over_examples_without_skipped_updates(self):
    pending = [_batch(2, 1), _batch(np.nan, 1), _batch(6, 3)]
    with self.assertLogs("ntm", "INFO") as logs:
      self._reporter().training(_state(4), pending, {"norm/a": 3.0, "norm/b": np.inf}, {}, 0)
    self.assertEqual(self.lines, [(4, {
        "train/error": 2.0, "train/step_1/error": 1.0, "train/other": 2.0, "norm/a": 3.0})])
    self.assertIn("step 4 of 6   2.0000 mm", logs.output[0])

  def test_skipped_updates_alone_have_no_mean(self):
    with self.assertLogs("ntm", "INFO") as logs:
      self._reporter(train__max_nonfinite_steps=3).training(
          _state(4), [_batch(np.nan, 1)], {}, {}, 5)
    self.assertEqual(self.lines, [(4, {"skipped": 1, "unreadable": 5})])
    self.assertIn("nan mm", logs.output[0])

  def test_the_time_left_is_that_of_the_remaining_steps(self):
    rates = {"step_seconds": 30.0, "steps_per_second": 1 / 30}
    with self.assertLogs("ntm", "INFO") as logs:
      self._reporter().training(_state(4), [_batch(2, 1)], {}, rates, 0)
    self.assertContainsSubset(rates | {"seconds_left": 60.0}, self.lines[0][1])
    self.assertIn("0:01:00 left", logs.output[0])

  def test_a_warning_of_the_task_is_logged_once(self):
    reporter = self._reporter(warning=lambda scalars: f"the error is {scalars['error']:g}")
    with self.assertLogs("ntm", "WARNING") as logs:
      for step in (2, 4):
        reporter.training(_state(step), [_batch(step, 1)], {}, {}, 0)
    self.assertEqual(logs.output, ["WARNING:ntm:step 2: the error is 2"])

  def test_held_out_metrics_are_the_mean_over_the_examples_of_all_batches(self):
    held_out = [{"sums": np.array([sums], np.float32)} for sums in ((2, 1), (6, 3))]
    values = self._reporter(held_out).held_out(_state(4))
    self.assertEqual(values, {"held_out/error": 2.0, "held_out/step_1/error": 1.0})
    self.assertEqual(self.lines, [(4, values)])

  def test_once_stopped_nothing_more_is_scored_or_written(self):
    held_out = [{"sums": np.array([[2, 1]], np.float32)}, {}]  # The second has no score.
    self.assertEqual(self._reporter(held_out).held_out(_state(4), iter([0, 15]).__next__), {})
    self.assertEmpty(self.lines)

  def test_without_held_out_data_there_are_no_metrics(self):
    self.assertEqual(self._reporter().held_out(_state(4)), {})
    self.assertEmpty(self.lines)

  def test_samples_of_classes_are_drawn_and_latents_are_not(self):
    self._reporter().samples(_state(4))
    self.assertEqual(self.pictures, [(4, "raw", 3)])
    self._reporter(model__image_shape=(4, 4, 5)).samples(_state(4))
    self.assertLen(self.pictures, 1)

  def test_samples_of_texts_need_held_out_texts(self):
    by_text = {"model__num_classes": 0, "model__backbone": {"text_tokens": 3, "text_width": 5}}
    self._reporter(**by_text).samples(_state(4))
    self.assertEmpty(self.pictures)
    self._reporter([{"text": 0}], captions=[f"caption {i}" for i in range(6)], **by_text
                   ).samples(_state(4))
    self.assertEqual([name for _, name, _ in self.pictures], ["raw", "text"])


if __name__ == "__main__":
  absltest.main()
