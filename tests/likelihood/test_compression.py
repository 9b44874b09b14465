"""Files of compressed images decode to the same images, and damaged ones are refused."""

import types
from unittest import mock

import numpy as np
from absl.testing import absltest

from ntm.likelihood import compression
from tests.helpers import tiny

_CONFIG = tiny.config(process__num_steps=(1,), model__transporter__num_blocks=0)


def _model(scale=0.05):
  return types.SimpleNamespace(config=_CONFIG,
                               params=tiny.model_and_params(_CONFIG, scale=scale)[1])


def _images():
  return (np.random.default_rng(0).integers(0, 17, (3, 4, 4, 1)) / 8 - 1).astype(np.float32)


class CompressionTest(absltest.TestCase):

  def test_images_and_labels_come_back(self):
    data, report = compression.compress(_model(), _images(), np.array([2, 0, 1]), 1, 0.125)
    images, labels = compression.decompress(_model(), data)
    np.testing.assert_array_equal(images, _images())
    np.testing.assert_array_equal(labels, [2, 0, 1])
    self.assertLess(report["borrowed_bits"], report["initial_bits"])
    self.assertLess(report["net_bits"], report["file_bits"] - report["initial_bits"])

  def test_damaged_files_and_other_models_are_refused(self):
    data, _ = compression.compress(_model(), _images(), np.array([2, 0, 1]), 1, 0.125)
    for damaged in (b"", data[:-1], data[:40] + b"?" + data[41:], b"X" + data[1:]):
      with self.assertRaisesRegex(ValueError, "are damaged, or not compressed by"):
        compression.decompress(_model(), damaged)
    with self.assertRaisesRegex(ValueError, "compressed by another model"):
      compression.decompress(_model(scale=0.06), data)

  def test_the_code_is_as_long_as_the_weights_of_its_trajectories_say(self):
    labels = np.array([2, 0, 1])
    _, sizes = compression.compress(_model(), _images(), labels, 1, 0.125)
    figures = compression.figures(_model(), sizes, _images(), labels, 1, 0.125)
    # The fractions of bits of two logarithms, and one in a thousand for the grid.
    self.assertLess(abs(figures["longer_by"]), 1e-3)
    self.assertAlmostEqual(figures["bits_per_dim"] * 48, sizes["net_bits"])
    self.assertGreater(figures["file_bits_per_dim"], figures["bits_per_dim"])
    self.assertNotIn("states", figures)
    weights = lambda labels: compression.log_weights(
        _model(), sizes["states"], _images(), labels, 1, 0.125)
    self.assertAlmostEqual(-weights(labels).sum() / np.log(2) / 48,
                           figures["bound_of_the_same_draws"])
    with mock.patch.object(compression, "_WEIGHED", 2):
      np.testing.assert_allclose(weights(labels), compression.log_weights(
          _model(), sizes["states"], _images(), labels, 1, 0.125), rtol=1e-6)
    self.assertGreater(np.abs(weights(labels) - weights(np.array([0, 1, 2]))).min(), 1e-4)

  def test_a_history_predictor_is_refused_before_any_work(self):
    compression.check_codable(_model())
    config = tiny.config(model__predictor__context="history")
    with self.assertRaisesRegex(ValueError, "context is 'history'"):
      compression.check_codable(types.SimpleNamespace(config=config))

  def test_images_between_levels_are_refused(self):
    with self.assertRaisesRegex(ValueError, "values between levels 0.125 apart"):
      compression.compress(_model(), _images() + 0.03, None, 1, 0.125)


if __name__ == "__main__":
  absltest.main()
