import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm.typing import Condition
from tests.helpers import tiny


class TransporterTest(parameterized.TestCase):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    config = tiny.config()
    cls.model, cls.params = tiny.model_and_params(config)
    cls.trajectory = tiny.trajectory(config)
    cls._transport = staticmethod(jax.jit(lambda x: cls.model.apply(
        {"params": cls.params}, x, Condition(cls.trajectory.times_KB), method="transport")))

  def test_is_the_identity_at_the_noise_level(self):
    u, log_det = self._transport(self.trajectory.x_KBNC)
    np.testing.assert_array_equal(u[-1], self.trajectory.x_KBNC[-1])
    np.testing.assert_array_equal(log_det[-1], 0)
    self.assertGreater(np.abs(u[:-1] - self.trajectory.x_KBNC[:-1]).max(), 1e-2)

  def test_levels_do_not_mix(self):
    grad_of_level = jax.jit(jax.grad(lambda x, k: (self._transport(x)[0][k] ** 2).sum()))
    for k in range(4):
      grad = grad_of_level(self.trajectory.x_KBNC, k)
      self.assertGreater(np.abs(grad[k]).max(), 0)
      others = np.delete(np.asarray(grad), k, axis=0)
      np.testing.assert_array_equal(others, np.zeros_like(others))

  def test_the_inverse_undoes_transport(self):
    u, log_det = self._transport(self.trajectory.x_KBNC)
    x, inverse_log_det = jax.jit(lambda params, u: self.model.apply(
        {"params": params}, u, Condition(self.trajectory.times_KB),
        method="transport_inverse"))(self.params, u)
    np.testing.assert_allclose(x, self.trajectory.x_KBNC, atol=1e-5)
    np.testing.assert_allclose(inverse_log_det, -log_det, atol=1e-5)

  @parameterized.parameters(0, 1)
  def test_even_blocks_scan_forwards_and_odd_ones_backwards(self, number):
    # The other block does nothing; what is left depends on one side alone.
    blocks = dict(self.params["transporter"])
    other = f"block_{1 - number}"
    blocks[other] = blocks[other] | {"readout": jax.tree.map(
        jnp.zeros_like, blocks[other]["readout"])}
    params = {"params": self.params | {"transporter": blocks}}
    run = lambda x: self.model.apply(params, x[None, None], Condition(jnp.full((1, 1), 0.3)),
                                     method="transport")[0][0, 0]
    reach = np.abs(jax.jit(jax.jacrev(run))(self.trajectory.x_KBNC[0, 0])).max(axis=(1, 3)) > 0
    one_side = np.tril(np.ones((4, 4), bool))
    np.testing.assert_array_equal(reach, one_side.T if number else one_side)

  def test_blocks_alternate_direction(self):
    # Through both blocks every token reaches every other; through one, half.
    u = lambda x: self._transport(x[None].repeat(4, 0).repeat(2, 1))[0][0, 0]
    jacobian = jax.jit(jax.jacrev(u))(jnp.ones((1, 4, 4)) * self.trajectory.x_KBNC[0, :1])[:, :, 0]
    reach = np.abs(jacobian).max(axis=(1, 3)) > 0
    self.assertTrue(reach.all())


if __name__ == "__main__":
  absltest.main()
