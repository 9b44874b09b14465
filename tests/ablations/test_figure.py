"""The picture knows which rows it shows."""

import pathlib
import tempfile

import numpy as np
from absl.testing import absltest
from PIL import Image

from ntm.ablations import figure
from tests.helpers import ablation_rows


class FigureTest(absltest.TestCase):

  def test_points_are_means_over_seeds(self):
    rows = ablation_rows.measured("frechet_distance", T1__refined=[7.0, 9.0], base__refined=[2.0])
    self.assertEqual(figure.points(rows), {"one model per T": [(1, 8.0, 1.0), (4, 2.0, 0.0)]})
    self.assertEqual(figure.points({}), {})

  def test_distances_can_be_read_off(self):
    rows = ablation_rows.measured("frechet_distance", T1__refined=[2.5], base__refined=[7.3])
    plot = figure.plot(rows)
    plot.canvas.draw()
    (axes,) = plot.axes
    low, high = axes.get_ylim()
    labels = [label.get_text() for label in axes.get_yticklabels()
              if low <= label.get_position()[1] <= high]
    self.assertEqual(low, 0)
    self.assertGreater(len(set(filter(None, labels))), 3)

  def test_a_picture_carries_the_digest_of_its_rows(self):
    path = pathlib.Path(tempfile.mkdtemp()) / "images" / "a.png"
    rows, others = (ablation_rows.measured("frechet_distance", T1__refined=[value])
                    for value in (7.0, 7.001))
    figure.draw(rows, path)
    self.assertEqual(figure.digest_of_file(path), figure.digest(rows))
    self.assertNotEqual(figure.digest(others), figure.digest(rows))
    # What is not drawn does not matter.
    more = rows | ablation_rows.measured("frechet_distance", grid__exact=[1.0])
    self.assertEqual(figure.digest(more), figure.digest(rows))

  def test_another_picture_has_none(self):
    path = pathlib.Path(tempfile.mkdtemp()) / "a.png"
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(path)
    self.assertEqual(figure.digest_of_file(path), "")


if __name__ == "__main__":
  absltest.main()
