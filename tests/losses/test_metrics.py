"""Sums of two batches are those of both together."""

import chex
import jax
import jax.numpy as jnp
from absl.testing import absltest, parameterized

from ntm.losses import distillation, flow_matching


class SumsTest(parameterized.TestCase):

  @parameterized.parameters(
      (flow_matching.Metrics(jnp.float32(3), jnp.float32(2)),),
      (distillation.Metrics(jnp.float32(3), jnp.float32(5), jnp.float32(2)),))
  def test_a_batch_in_parts_has_the_metrics_of_the_whole(self, metrics):
    other = jax.tree.map(lambda a: 2 * a, metrics)
    merged = metrics.merge(other)
    chex.assert_trees_all_equal(merged, jax.tree.map(lambda a: 3 * a, metrics))
    chex.assert_trees_all_equal(merged, other.merge(metrics))
    self.assertEqual(merged.scalars(), metrics.scalars())  # Means, of the same examples thrice.
    chex.assert_trees_all_equal(metrics.zeros().merge(metrics), metrics)

  def test_no_example_has_the_type_of_its_sums(self):
    sums = flow_matching.Metrics(jnp.ones(3, jnp.bfloat16), jnp.int32(2))
    chex.assert_trees_all_equal_shapes_and_dtypes(sums.zeros(), sums)


if __name__ == "__main__":
  absltest.main()
