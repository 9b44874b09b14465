import flax.linen as nn
import jax.numpy as jnp
from absl.testing import absltest

from ntm.conversion import shapes


class ShapesTest(absltest.TestCase):

  def test_counts_to_the_first_that_is_missing(self):
    names = {"a.0.b": (), "a.1.b": (), "a.3.b": ()}
    self.assertEqual(shapes.count_layers(names, "a.{i}.b"), 2)
    self.assertEqual(shapes.count_layers(names, "c.{i}.b"), 0)

  def test_another_number_of_axes_is_refused_by_name(self):
    self.assertEqual(shapes.checked_shape({"w": (2, 3)}, "w", 2), (2, 3))
    with self.assertRaisesRegex(ValueError, r"^w has shape \[2, 3\]; expected 3 axes"):
      shapes.checked_shape({"w": (2, 3)}, "w", 3)

  def test_parameters_by_path(self):
    model = nn.Sequential([nn.Dense(3), nn.Dense(2)])
    self.assertEqual(shapes.parameter_shapes(model.init, jnp.zeros((1, 5))), {
        "layers_0/kernel": (5, 3), "layers_0/bias": (3,),
        "layers_1/kernel": (3, 2), "layers_1/bias": (2,)})


if __name__ == "__main__":
  absltest.main()
