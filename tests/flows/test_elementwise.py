import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from ntm.flows.elementwise import Affine


class ElementwiseTest(absltest.TestCase):

  def test_the_affine_map_and_its_inverse(self):
    mean, log_scale, x = jax.random.normal(jax.random.key(0), (3, 2, 4, 3))
    u, log_slope = Affine(mean, log_scale).forward(x)
    np.testing.assert_allclose(u, (x - mean) / jnp.exp(log_scale), rtol=1e-5)
    back, inverse_log_slope = Affine(mean, log_scale).inverse(u)
    np.testing.assert_allclose(back, x, atol=1e-5)
    np.testing.assert_array_equal(log_slope, -inverse_log_slope)


if __name__ == "__main__":
  absltest.main()
