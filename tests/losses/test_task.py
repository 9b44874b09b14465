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


if __name__ == "__main__":
  absltest.main()
