"""Times, classes and positions are told from each other, at every precision."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm.nn import embeddings
from ntm.nn.numerics import Numerics
from ntm.typing import Condition
from tests.helpers import tiny


class SinusoidalTest(parameterized.TestCase):

  def test_pairs_are_on_the_circle_and_neighbouring_levels_differ(self):
    t = jnp.float32([[0.5, 0.501], [0.0, 1.0]])
    out = embeddings.sinusoidal(t, width=16)
    self.assertEqual(out.shape, (2, 2, 16))
    np.testing.assert_allclose(out[..., :8] ** 2 + out[..., 8:] ** 2, 1, rtol=1e-5)
    self.assertGreater(jnp.abs(out[0, 0] - out[0, 1]).max(), 0.5)  # Of t times 1000.
    # The slowest turns by less than half a circle from data to noise: no two times are equal.
    self.assertLess(float(out[1, 1, 0]), 1)
    self.assertGreater(float(out[1, 1, 8]), 0)

  def test_it_keeps_float64(self):
    with jax.enable_x64(True):
      self.assertEqual(embeddings.sinusoidal(jnp.ones(3, jnp.float64)).dtype, jnp.float64)


class EmbeddingsTest(parameterized.TestCase):

  def test_a_condition_has_the_numbers_that_it_is_given(self):
    time_BG = jnp.ones((2, 3))
    self.assertEqual(set(embeddings.condition_scalars(Condition(time_B=time_BG))), {"time"})
    found = embeddings.condition_scalars(Condition(
        time_B=time_BG, next_time_B=0.5 * time_BG, num_steps_B=jnp.array([2, 4])))
    self.assertEqual(set(found), {"time", "next_time", "steps"})
    np.testing.assert_array_equal(found["steps"], [[0.5], [0.25]])

  @parameterized.parameters(jnp.float32, jnp.bfloat16)
  def test_times_that_bfloat16_cannot_tell_apart_have_their_embeddings(self, dtype):
    module = embeddings.ScalarEmbedding(8, numerics=Numerics(dtype=dtype))
    value = jnp.float32([[0.5, 0.501]])
    params = tiny.random_params(lambda rng: module.init(rng, value))
    out = module.apply({"params": params}, value)
    self.assertEqual((out.shape, out.dtype), ((1, 2, 8), dtype))
    self.assertGreater(jnp.abs(out[0, 0] - out[0, 1]).max(), 0.05)

  def test_a_zero_embedding_starts_without_effect(self):
    module = embeddings.ScalarEmbedding(8, zero=True)
    np.testing.assert_array_equal(module.init_with_output(jax.random.key(0), jnp.ones(3))[0], 0)

  def test_every_class_and_the_null_class_have_their_row(self):
    module = embeddings.LabelEmbedding(3, 8)
    params = tiny.random_params(lambda rng: module.init(rng, jnp.arange(2)))
    self.assertEqual(params["table"].shape, (4, 8))
    label_B = jnp.array([3, 0, 3])
    np.testing.assert_array_equal(module.apply({"params": params}, label_B),
                                  params["table"][label_B])

  def test_positions_are_the_same_while_decoding(self):
    module, h_BMD = embeddings.PositionEmbedding(), jnp.zeros((2, 5, 8))
    params = tiny.random_params(lambda rng: module.init(rng, h_BMD, 5))
    whole = module.apply({"params": params}, h_BMD, 5)
    index = jnp.array([3, 1])
    np.testing.assert_array_equal(
        module.apply({"params": params}, h_BMD[:, :2], 5, index), whole[:, index])


if __name__ == "__main__":
  absltest.main()
