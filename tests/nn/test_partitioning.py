import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ntm.nn import partitioning


def _mesh():
  return Mesh(np.asarray(jax.devices()).reshape(2, 2, 2), partitioning.AXES,
              axis_types=partitioning.AXIS_TYPES)


class AxesTest(absltest.TestCase):

  def test_within_a_step_activations_are_split_as_the_table_says(self):
    mesh = _mesh()

    def step(x):
      with partitioning.activations(mesh):
        return partitioning.constrain(x, "batch", None, "heads", None)

    whole = NamedSharding(mesh, PartitionSpec())
    out = jax.jit(step, in_shardings=whole)(jnp.zeros((8, 3, 4, 5)))
    self.assertEqual(out.addressable_shards[0].data.shape, (2, 3, 2, 5))

  def test_what_the_mesh_does_not_split_evenly_stays_whole(self):
    mesh = _mesh()

    def step(x):
      with partitioning.activations(mesh):
        return partitioning.constrain(x, "batch", None, "heads", None)

    whole = NamedSharding(mesh, PartitionSpec())
    out = jax.jit(step, in_shardings=whole)(jnp.zeros((7, 3, 4, 5)))
    self.assertEqual(out.addressable_shards[0].data.shape, (7, 3, 2, 5))

  def test_elsewhere_nothing_happens(self):
    jaxpr = jax.make_jaxpr(lambda x: partitioning.constrain(x, "batch", None))(jnp.zeros((8, 3)))
    self.assertEmpty(jaxpr.jaxpr.eqns)


if __name__ == "__main__":
  absltest.main()
