import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ntm.evaluation import torch_networks


class PixelsTest(parameterized.TestCase):

  @parameterized.parameters(1, 3)
  def test_of_floats_are_the_nearest_bytes_in_three_channels(self, channels):
    values = np.array([-1, 1, 7, 0.25 / 127.5, -1 / 127.5], np.float32)
    images = np.broadcast_to(values[:, None, None, None], (5, 2, 4, channels))
    pixels = torch_networks.pixels(images)
    self.assertEqual((pixels.shape, pixels.dtype), ((5, 2, 4, 3), np.uint8))
    np.testing.assert_array_equal(pixels[:, 1, 3, 2], [0, 255, 255, 128, 126])
    np.testing.assert_array_equal(torch_networks.pixels(pixels), pixels)

  def test_latents_are_refused(self):
    with self.assertRaisesRegex(ValueError, r"shape \(4, 4, 2\); expected \(height, width, 1 or 3"):
      torch_networks.pixels(np.zeros((1, 4, 4, 2)))


class MeanTest(absltest.TestCase):

  def test_the_error_is_that_of_a_mean_of_independent_values(self):
    values = np.random.default_rng(0).normal(3, 2, (400, 100))
    found = [torch_networks.mean_and_error("x", row) for row in values]
    means = np.array([row["x"] for row in found])
    np.testing.assert_allclose(means, values.mean(axis=1))
    errors = np.array([row["x_standard_error"] for row in found])
    self.assertAlmostEqual(errors.mean() / means.std(), 1, delta=0.1)

  def test_one_value_has_no_error(self):
    self.assertEqual(torch_networks.mean_and_error("x", np.array([2.0])), {"x": 2.0})


class ModuleTest(absltest.TestCase):

  def test_a_checksum_is_of_names_and_values(self):
    torch = pytest.importorskip("torch")
    layers = [torch.nn.Linear(3, 2) for _ in range(2)]
    first, other = map(torch_networks.sha256, layers)
    self.assertLen(first, 64)
    self.assertNotEqual(first, other)
    layers[1].load_state_dict(layers[0].state_dict())
    self.assertEqual(torch_networks.sha256(layers[1]), first)
    self.assertNotEqual(torch_networks.sha256(torch.nn.Sequential(layers[0])), first)

  def test_a_device_that_is_there(self):
    torch = pytest.importorskip("torch")
    self.assertEqual(float(torch.ones(3, device=torch_networks.device()).sum()), 3)


if __name__ == "__main__":
  absltest.main()
