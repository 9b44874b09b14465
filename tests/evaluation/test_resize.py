import jax
import numpy as np
import pytest
from absl.testing import absltest, parameterized
from PIL import Image

from ntm.evaluation import resize
from tests.helpers import inception_pair


def _images(height, width):
  return np.random.default_rng(0).integers(0, 256, (2, height, width, 3), np.uint8)


class ResizeTest(parameterized.TestCase):

  @parameterized.parameters((32, 32, 40), (64, 48, 31), (40, 40, 40))
  def test_tf1_is_that_of_torch_fidelity(self, height, width, side):
    torch = pytest.importorskip("torch")
    theirs = inception_pair.torch_fidelity("interpolate_compat_tensorflow")
    x = _images(height, width)
    expected = theirs.interpolate_bilinear_2d_like_tensorflow1x(
        torch.from_numpy(x).permute(0, 3, 1, 2).float(), size=(side, side), align_corners=False)
    np.testing.assert_allclose(resize.resize(x, side, "tf1"), expected.permute(0, 2, 3, 1),
                               atol=1e-3)

  @parameterized.parameters((32, 32, 40), (64, 48, 31), (40, 40, 40))
  def test_antialiased_is_pillows_bicubic_of_every_channel(self, height, width, side):
    x = _images(height, width)
    ours = resize.resize(x, side, "antialiased")
    for i in range(2):
      for channel in range(3):
        plane = Image.fromarray(x[i, :, :, channel].astype(np.float32), mode="F")
        expected = np.asarray(plane.resize((side, side), Image.Resampling.BICUBIC)).clip(0, 255)
        np.testing.assert_allclose(ours[i, ..., channel], expected, atol=2e-2)

  def test_tf1_reads_some_pixels_of_large_images_and_antialiased_reads_all(self):
    for method, share in (("tf1", 0.5), ("antialiased", 1.0)):
      total = lambda x, method=method: resize.resize(x, 8, method).sum()
      read = jax.grad(total)(np.full((1, 16, 16, 1), 100, np.float32)) != 0
      self.assertEqual(float(read[0, :, 0, 0].mean()), share, method)


if __name__ == "__main__":
  absltest.main()
