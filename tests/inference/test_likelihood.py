import math

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from ntm.inference.likelihood import likelihood
from ntm.process import schedule
from ntm.process.trajectory import sample_trajectory
from ntm.typing import Trajectory
from tests import tiny


class LikelihoodTest(absltest.TestCase):

  def test_figures_follow_from_the_steps(self):
    config = tiny.config()
    model, params = tiny.model_and_params(config)
    trajectory = tiny.trajectory(config)
    out = likelihood(model, params, trajectory)
    result = model.apply({"params": params}, trajectory, method="log_prob")
    np.testing.assert_allclose(out.log_prob_B, result.step_SB.sum(0) + result.prior_B, rtol=1e-6)
    np.testing.assert_allclose(out.nats_per_dim_B, -result.step_SB.mean(0) / 16, rtol=1e-6)
    np.testing.assert_allclose(out.bits_per_dim_B, -out.bound_B / 16 / math.log(2), rtol=1e-6)

  def test_the_bound_holds_and_equals_an_importance_weight(self):
    # T = 1 and a predictor that does not read the noise: p(x_0, x_1) = p(x_0) N(x_1; 0, I), and
    # the forward kernel to t = 1 is N(0, I) as well, so the bound is log p(x_0) itself.
    config = tiny.config(process__num_steps=(1,))
    model, params = tiny.model_and_params(config)
    times = schedule.uniform_times(1, jnp.full(2, 0.1))
    x0 = jnp.zeros((2, 4, 4))
    bounds = []
    for seed in (0, 1):
      noisy = sample_trajectory(jax.random.key(seed), x0, times)
      x = jnp.stack([jnp.full((2, 4, 4), 0.2), noisy[1]])  # Same cleanest state, other noise.
      out = likelihood(model, params, Trajectory(x, times, jnp.array([0, 1]), None,
                                                 jnp.ones((1, 2))))
      np.testing.assert_allclose(out.bound_B, out.step_SB[0], rtol=1e-5)
      bounds.append(out.bound_B)
    np.testing.assert_allclose(*bounds, rtol=1e-5)


if __name__ == "__main__":
  absltest.main()
