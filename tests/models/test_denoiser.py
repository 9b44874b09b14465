import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm.models import build
from ntm.models.dit import DiT
from ntm.typing import Condition
from tests.helpers import tiny


class DenoiserTest(parameterized.TestCase):

  @parameterized.parameters(dict(num_steps=(3,)), dict(num_steps=(2, 4)))
  def test_is_the_network_told_the_level_and_one_over_t(self, num_steps):
    config = tiny.config(process__num_steps=num_steps, denoiser={
        "layers": 1, "width": 16, "num_heads": 2, "num_kv_heads": 1})
    model = build.denoiser(config)
    u = jax.random.normal(jax.random.key(0), (2, 4, 4))
    time, steps, label = jnp.array([0.02, 0.3]), jnp.array([2, 4]), jnp.array([0, 3])
    cond = Condition(time, label_B=label, num_steps_B=steps if num_steps == (2, 4) else None)
    params = tiny.random_params(lambda rng: model.init(rng, u, cond))
    net = DiT(config.denoiser, config.model.grid_shape, {"readout": (4,)}, 3)
    expected = jax.jit(net.apply)({"params": params["network"]}, u[:, None],
                                  cond.at(time[:, None]))
    found = jax.jit(model.apply)({"params": params}, u, cond)
    np.testing.assert_allclose(found, expected["readout"][:, 0], atol=1e-6)
    self.assertGreater(np.abs(found).max(), 0.1)


if __name__ == "__main__":
  absltest.main()
