"""One value carries the types of a network to all of its layers."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from absl.testing import absltest, parameterized

from ntm.nn import layers
from ntm.nn.numerics import Numerics


class NumericsTest(parameterized.TestCase):

  @parameterized.parameters((jnp.float32, jnp.float32), (jnp.bfloat16, jnp.float32))
  def test_types_reach_flax_layers_and_ours(self, dtype, param_dtype):
    types = Numerics(dtype=dtype, param_dtype=param_dtype).types
    for layer in (nn.Dense(3, **types), layers.dense(3, ("embed", None), **types)):
      out, variables = layer.init_with_output(jax.random.key(0), jnp.ones((2, 4), dtype))
      self.assertEqual(out.dtype, dtype)
      for leaf in jax.tree.leaves(nn.unbox(variables)):
        self.assertEqual(leaf.dtype, param_dtype)

  def test_it_is_a_value(self):
    self.assertEqual(hash(Numerics(remat="full")), hash(Numerics(remat="full")))
    self.assertNotEqual(Numerics(unroll=2), Numerics())


if __name__ == "__main__":
  absltest.main()
