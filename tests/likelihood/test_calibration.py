import pathlib
import tempfile
from unittest import mock

import numpy as np
from absl.testing import absltest
from matplotlib.axes import Axes

from ntm.likelihood import calibration


class CalibrationTest(absltest.TestCase):

  def test_moments_of_normal_residuals(self):
    z = np.random.default_rng(0).normal(size=(2, 500, 64)) * np.array([1, 2])[:, None, None]
    first, second = calibration.moments(z)
    self.assertAlmostEqual(first["variance"], 1, delta=0.03)
    self.assertAlmostEqual(first["beyond_2"], 0.0455, delta=0.005)
    self.assertAlmostEqual(second["variance"], 4, delta=0.1)

  def test_normal_residuals_follow_the_diagonal_that_is_drawn(self):
    z = np.random.default_rng(0).normal(size=(1, 500, 64))
    with mock.patch.object(Axes, "plot", autospec=True, side_effect=Axes.plot) as plot:
      calibration.draw_quantiles(pathlib.Path(tempfile.mkdtemp()) / "qq.png", z)
    (_, expected, found), (_, x, y) = (call.args for call in plot.call_args_list)
    np.testing.assert_allclose(found, expected, atol=0.1)
    self.assertBetween(expected[-1], 2.5, 4)
    self.assertEqual(x, y)

  def test_the_picture_is_written(self):
    path = pathlib.Path(tempfile.mkdtemp()) / "qq.png"
    calibration.draw_quantiles(path, np.random.default_rng(0).normal(size=(2, 50, 4)))
    self.assertEqual(path.read_bytes()[:4], b"\x89PNG")


if __name__ == "__main__":
  absltest.main()
