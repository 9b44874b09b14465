import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm import testing
from ntm.typing import Condition
from tests.helpers import tiny


class TransporterTest(parameterized.TestCase):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    config = tiny.config(model__transporter__num_blocks=2)
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
    # The law holds for any first axis; the second one here is that of the examples.
    dependence_KBB = testing.token_dependence(self._transport, self.trajectory.x_KBNC)
    np.testing.assert_array_equal(dependence_KBB > 0, np.eye(2, dtype=bool)[None].repeat(4, axis=0))

  def test_the_inverse_undoes_transport(self):
    inverse = jax.jit(lambda params, u: self.model.apply(
        {"params": params}, u, Condition(self.trajectory.times_KB), method="transport_inverse"))
    shape = self.trajectory.x_KBNC.shape

    def flat(run, x):
      out, log_det = run(x.reshape(shape))
      return out.reshape(x.shape), log_det.reshape(-1)

    testing.assert_round_trip(
        functools.partial(flat, self._transport),
        functools.partial(flat, functools.partial(inverse, self.params)),
        self.trajectory.x_KBNC.reshape(-1, *shape[2:]), rtol=0)

  def test_the_inverse_gives_every_level_the_class_of_its_example(self):
    config = tiny.config(model__transporter__class_conditional=True)
    model, params = tiny.model_and_params(config)
    trajectory = tiny.trajectory(config)
    run = lambda method, a, labels: jax.jit(lambda a: model.apply(
        {"params": params}, a, Condition(trajectory.times_KB, label_B=jnp.array(labels)),
        method=method)[0])(a)
    u_KBNC = run("transport", trajectory.x_KBNC, [0, 2])
    np.testing.assert_allclose(run("transport_inverse", u_KBNC, [0, 2]), trajectory.x_KBNC,
                               atol=1e-5)
    swapped = np.abs(run("transport_inverse", u_KBNC, [2, 0]) - trajectory.x_KBNC)
    self.assertGreater(swapped[:-1].max(axis=(2, 3)).min(), 1e-3)

  @parameterized.parameters(0, 1)
  def test_even_blocks_scan_forwards_and_odd_ones_backwards(self, number):
    # The other block does nothing; what is left depends on one side alone.
    blocks = dict(self.params["transporter"])
    other = f"block_{1 - number}"
    blocks[other] = blocks[other] | {"readout": jax.tree.map(
        jnp.zeros_like, blocks[other]["readout"])}
    params = {"params": self.params | {"transporter": blocks}}
    run = lambda x: self.model.apply(params, x[None], Condition(jnp.full((1, len(x)), 0.3)),
                                     method="transport")[0][0]
    reach_NN = testing.token_dependence(run, self.trajectory.x_KBNC[0, :1])[0] > 0
    one_side = np.tril(np.ones((4, 4), bool))
    np.testing.assert_array_equal(reach_NN, one_side.T if number else one_side)

  def test_blocks_alternate_direction(self):
    # Through both blocks every token reaches every other; through one, half.
    x_KBNC = self.trajectory.x_KBNC
    u = lambda x: self._transport(x_KBNC.at[0].set(x))[0][0]
    self.assertGreater(testing.token_dependence(u, x_KBNC[0]).min(), 0)


if __name__ == "__main__":
  absltest.main()
