import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from ntm.config import TransformerConfig
from ntm.models.dit import DiT
from ntm.typing import Condition
from tests.helpers import tiny


class DiTTest(absltest.TestCase):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    config = tiny.config().model
    net = DiT(TransformerConfig(layers=1, width=16, num_heads=2, num_kv_heads=1),
              config.grid_shape, {"readout": (4,), "other": (2, 3)}, 3, noise_token=True)
    u = jax.random.normal(jax.random.key(0), (2, 1, 4, 4))
    cls.args = (u, Condition(jnp.array([[0.2], [0.7]]), label_B=jnp.array([0, 3])))
    cls.init = staticmethod(jax.jit(lambda rng: net.init(rng, *cls.args)))
    cls.params = tiny.random_params(lambda rng: net.init(rng, *cls.args))
    cls.apply = staticmethod(jax.jit(lambda params, *args: net.apply({"params": params}, *args)))

  def test_outputs_start_at_zero_and_learned_tokens_small(self):
    params = self.init(jax.random.key(1))["params"]
    for out in self.apply(params, *self.args).values():
      np.testing.assert_array_equal(out, 0)
    self.assertBetween(float(jnp.abs(params["noise"].value).max()), 1e-3, 0.1)

  def test_outputs_have_their_shapes_and_are_linear_in_the_last_hidden_state(self):
    out = self.apply(self.params, *self.args)
    self.assertEqual({name: a.shape for name, a in out.items()},
                     {"readout": (2, 1, 4, 4), "other": (2, 1, 4, 2, 3)})
    doubled = self.params | {"readout": jax.tree.map(lambda a: 2 * a, self.params["readout"])}
    np.testing.assert_allclose(self.apply(doubled, *self.args)["readout"], 2 * out["readout"],
                               rtol=1e-5, atol=1e-6)

  def test_the_last_norm_is_shifted_and_scaled(self):
    # (1 + scale) h + shift with scale -1: the shift alone is read out, the same for all tokens.
    shift = jnp.linspace(-1, 1, 16)
    modulation = {"kernel": jnp.zeros((16, 2, 16)), "bias": jnp.stack([shift, -jnp.ones(16)])}
    out = self.apply(self.params | {"modulation": modulation}, *self.args)["readout"]
    readout = self.params["readout"]
    expected = shift @ readout["kernel"] + readout["bias"]
    np.testing.assert_allclose(out, jnp.broadcast_to(expected, out.shape), atol=1e-5)

  def test_the_noise_token_stands_for_tokens_at_the_noise_level_alone(self):
    u, cond = self.args
    for time, seen in ((0.999, True), (1.0, False)):
      cond = cond.at(jnp.full((2, 1), time))
      a, b = (self.apply(self.params, value, cond)["readout"] for value in (u, -u))
      self.assertEqual(bool(np.abs(a - b).max() > 1e-3), seen)


if __name__ == "__main__":
  absltest.main()
