import contextlib
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm.config import MeshConfig
from ntm.nn import partitioning, rounds


class RoundsTest(parameterized.TestCase):

  @parameterized.parameters(
      (16, 16, 1, 1), (16, 1, 1, 16), (16, 5, 1, 4), (16, 1, 8, 2), (16, 2, 8, 1), (6, 4, 1, 2),
      (3, 1, 8, 1), (7, 3, 1, 7), (12, 1, 8, 2), (5, 0, 1, 5))
  def test_a_batch_is_split_into_the_fewest_rounds_that_are_small_enough(
      self, size, most, devices, length):
    batch = {"a": np.arange(2.0 * size).reshape(size, 2), "b": np.arange(size)}
    function = lambda part: (part["a"] * 2 + part["b"][:, None], {"n": part["b"] + 1})
    mesh = partitioning.make_mesh(MeshConfig(data=2, fsdp=4))
    within = partitioning.activations(mesh) if devices > 1 else contextlib.nullcontext()
    with within, mock.patch.object(jax.lax, "map", wraps=jax.lax.map) as turns:
      found = jax.jit(lambda batch: rounds.in_rounds(function, batch, most))(
          jax.tree.map(jnp.asarray, batch))
    self.assertEqual([len(call.args[1]["a"]) for call in turns.mock_calls],
                     [length] if length > 1 else [])
    jax.tree.map(np.testing.assert_array_equal, found, function(batch))


if __name__ == "__main__":
  absltest.main()
