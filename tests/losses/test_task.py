import jax
import numpy as np
from absl.testing import absltest, parameterized

from ntm.losses import task
from ntm.typing import Condition
from tests.helpers import tiny


class GridConditionTest(parameterized.TestCase):

  @parameterized.parameters(1, 2, 3, 4, 9, 10, 17)
  def test_only_classes_that_exist_one_per_row(self, classes):
    cond, shape = task.grid_condition(tiny.config(model__num_classes=classes))
    self.assertEqual(shape, (min(classes, 10), 10, 4, 4, 1))
    np.testing.assert_array_equal(cond.label_B.reshape(shape[:2]),
                                  np.arange(shape[0])[:, None].repeat(10, axis=1))
    self.assertLess(cond.label_B.max(), classes)

  def test_four_rows_without_classes(self):
    cond, shape = task.grid_condition(tiny.config(model__num_classes=0))
    self.assertEqual(cond, Condition())
    self.assertEqual(shape[:2], (4, 10))

  @parameterized.parameters((0, 1), (3, 3))
  def test_points_of_the_plane_are_many(self, classes, rows):
    cond, shape = task.grid_condition(tiny.config(
        model__num_classes=classes, model__image_shape=(2, 1), model__patch_shape=(1,)))
    self.assertEqual(shape, (rows, 2000, 2, 1))
    if classes:
      np.testing.assert_array_equal(cond.label_B[::2000], np.arange(classes))

  def test_points_are_drawn_at_every_level(self):
    config = tiny.config(model__num_classes=0, model__image_shape=(2, 1), model__patch_shape=(1,))
    what = task.density(config)
    shapes = jax.eval_shape(what.samples, jax.eval_shape(what.init, jax.random.key(0)), None)
    # Four states of three steps, noise first, and the refined one.
    self.assertEqual({name: array.shape for name, array in shapes.items()}, {
        "raw": (1, 2000, 2, 1), "refined": (1, 2000, 2, 1), "trajectory": (5, 2000, 2, 1)})


class WarningTest(absltest.TestCase):

  def test_data_that_often_leave_the_range_of_splines(self):
    what = task.density(tiny.config(model__transporter__spline_bins=4))
    self.assertEqual(what.warning({"spline/outside": 0.04}), "")
    self.assertEqual(what.warning({}), "")
    self.assertRegex(what.warning({"spline/outside": 0.2}),
                     r"20% .* \[-4, 4\], .* raise config.model.transporter.spline_range")


if __name__ == "__main__":
  absltest.main()
