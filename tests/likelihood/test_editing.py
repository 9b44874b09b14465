import math

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm.likelihood import bounds, editing
from ntm.process import schedule
from ntm.typing import Condition
from tests.helpers import tiny


class EditingTest(parameterized.TestCase):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    small = {"layers": 1, "width": 8, "num_heads": 2, "num_kv_heads": 2}
    config = tiny.config(model__predictor=small, model__transporter=small | {"num_blocks": 1})
    cls.model, cls.params = tiny.model_and_params(config)
    cls.times = schedule.uniform_times(2, 0.1)
    cls.cond = Condition(label_B=jnp.array([0, 3]))
    cls.known = jax.random.uniform(jax.random.key(0), (2, 4, 4), minval=-1)
    cls.mask = jnp.zeros((2, 4, 4)).at[:, :2].set(1)
    cls.objective = staticmethod(editing.inpainting_objective(cls.known, cls.mask, 0.1))

  def _edit(self, **options):
    start = jnp.zeros_like(self.known)
    return editing.edit(jax.random.key(1), self.model, self.params, start, self.objective,
                        self.times, self.cond, **options)

  def test_without_the_likelihood_only_the_known_part_moves(self):
    x = self._edit(weight=0.0, steps=150, step_size=0.05)
    np.testing.assert_array_equal(x[:, 2:], 0)
    np.testing.assert_allclose(x[:, :2], self.known[:, :2], atol=1e-2)

  def test_with_it_the_rest_becomes_more_likely(self):
    x = self._edit(steps=40, step_size=0.05)
    times = jnp.broadcast_to(self.times[:, None], (3, 2))
    weight = jax.jit(lambda rng, x: bounds.log_weight(
        rng, self.model, self.params, 0.9 * x + 0.1 * jax.random.normal(rng, x.shape), times,
        self.cond))
    bound = lambda x: np.mean([weight(jax.random.key(seed), x) for seed in range(8)])
    without = self._edit(weight=0.0, steps=40, step_size=0.05)
    self.assertGreater(bound(x), bound(without) + 0.5)

  @parameterized.parameters(0.8, 1.0, 1.2)
  def test_langevin_samples_the_objective(self, temperature):
    # With a Gaussian objective alone, the steps are an autoregression of known variance:
    # z <- a z + sqrt(2 (1 - a) temperature) noise, a = 1 - step_size / (2 scale^2).
    scale, step_size = 0.1, 2e-3
    known = jax.random.uniform(jax.random.key(0), (1024, 4, 4), minval=-1)
    objective = editing.inpainting_objective(known, jnp.ones_like(known), scale)
    x = editing.edit(jax.random.key(1), self.model, self.params, jnp.zeros_like(known), objective,
                     self.times, Condition(), weight=0.0, steps=150, step_size=step_size,
                     temperature=temperature)
    z = np.asarray((x - known) / scale, np.float64)
    variance = lambda temperature: temperature / (1 - step_size / (4 * scale**2))
    standard_errors = lambda temperature: (
        abs(z.var() / variance(temperature) - 1) * math.sqrt(z.size / 2))
    self.assertLess(standard_errors(temperature), 4)
    self.assertLess(abs(z.mean()) * math.sqrt(z.size / variance(temperature)), 4)
    for other in (0.8, 1.25):
      self.assertGreater(standard_errors(other * temperature), 12)

  @parameterized.parameters(dict(steps=0), dict(step_size=0.0), dict(weight=-1.0),
                            dict(temperature=-1.0))
  def test_bad_settings_are_named(self, **options):
    with self.assertRaisesRegex(ValueError, "expected at least 1"):
      self._edit(**options)


if __name__ == "__main__":
  absltest.main()
