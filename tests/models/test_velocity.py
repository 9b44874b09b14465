"""A flow-matching model, and the NTM that starts as its Gaussian posterior."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm.models import build
from ntm.process import kernel
from ntm.sampling import ode, sampler
from ntm.training import state as state_lib
from ntm.typing import Condition
from tests.helpers import tiny


def _in(config, dtype):
  """The config in another type; files may not ask for float64."""
  return dataclasses.replace(config, model=dataclasses.replace(
      config.model, dtype=jnp.dtype(dtype).name))


def _velocity(config, dtype):
  model = build.velocity(_in(config, dtype))
  shape = (1, config.model.num_tokens, config.model.num_channels)
  args = (jnp.zeros(shape), Condition(jnp.zeros(1), label_B=jnp.zeros(1, int)))
  return model, jax.tree.map(lambda a: a.astype(dtype),
                             tiny.random_params(lambda rng: model.init(rng, *args)))


@functools.cache
def _density(mean_correction=False, dtype=jnp.float64):
  """An NTM as it is initialised from a velocity network, and that network."""
  config = tiny.config(model__predictor={
      "layers": 2, "width": 16, "num_heads": 2, "num_kv_heads": 1, "output": "velocity",
      "reads_noise": True, "mean_correction": mean_correction},
      process__t_min_low=0.01)
  velocity, velocity_params = _velocity(config, dtype)
  model = build.ntm(_in(config, dtype))
  init = jax.jit(functools.partial(model.init, method="log_prob"))
  params = nn.unbox(init(jax.random.key(0), tiny.trajectory(config, dtype=dtype)))["params"]
  state = state_lib.TrainState(0, True, params, params, None)
  state = state_lib.with_pretrained(state, {"predictor": velocity_params})
  return config, model, state.params, velocity, velocity_params


class InitialisationTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.enterContext(jax.enable_x64(True))

  @parameterized.parameters(False, True)
  def test_sampled_trajectory_is_the_gaussian_posterior_samplers(self, mean_correction):
    config, model, params, velocity, velocity_params = _density(mean_correction)
    cond = Condition(label_B=jnp.asarray([0, 1, 2]))
    times = tiny.trajectory(config, dtype=jnp.float64).times_KB[:, 0]
    shape = (3, config.model.num_tokens, config.model.num_channels)
    rng = jax.random.key(3)

    @jax.jit
    def sample(params):
      u_KBNC = sampler.sample_u_trajectory(rng, model, params, times, shape, cond)
      return sampler.to_data(model, params, u_KBNC, times, cond)[0]

    @jax.jit
    def expected(params):
      apply = functools.partial(velocity.apply, {"params": params})
      x_KBNC = ode.sample(rng, ode.guided(apply, cond, None, None), times, shape, "gaussian")
      return x_KBNC, apply(x_KBNC[0], cond.at(jnp.full(3, 0.5)))

    x_KBNC, v_BNC = expected(velocity_params)
    np.testing.assert_allclose(sample(params), x_KBNC, rtol=0, atol=1e-10)
    self.assertGreater(float(jnp.abs(v_BNC).max()), 0.1)

  def test_log_likelihood_is_that_of_the_gaussian_posterior(self):
    config, model, params, velocity, velocity_params = _density()
    trajectory = tiny.trajectory(config, 3, dtype=jnp.float64)
    result = jax.jit(lambda params, t: model.apply({"params": params}, t, method="log_prob"))(
        params, trajectory)

    @jax.vmap
    def log_density(x_s, x_t, s, t):
      v = velocity.apply({"params": velocity_params}, x_t, trajectory.cond.at(t))
      a, b, c = (value[:, None, None] for value in kernel.reverse_posterior(t, s))
      mean = a * x_t + b * (x_t - t[:, None, None] * v)
      return jax.scipy.stats.norm.logpdf(x_s, mean, c).sum(axis=(1, 2))

    x_KBNC, times_KB = trajectory.x_KBNC, trajectory.times_KB
    expected = jax.jit(log_density)(x_KBNC[:-1], x_KBNC[1:], times_KB[:-1], times_KB[1:])
    np.testing.assert_allclose(result.step_SB, expected, rtol=1e-10)

  def test_pretrained_leaves_must_fit(self):
    *_, params, _, velocity_params = _density()
    state = state_lib.TrainState(0, True, params, params, None)
    wrong = {"predictor": {"network": {"elsewhere": jnp.zeros(3)}}}
    with self.assertRaisesRegex(ValueError, r"predictor/network/elsewhere \[3\].*no such"):
      state_lib.with_pretrained(state, wrong)
    wrong = {"predictor": jax.tree.map(lambda a: a[..., None], velocity_params)}
    with self.assertRaisesRegex(ValueError, "does not fit the model, which has"):
      state_lib.with_pretrained(state, wrong)


class OutputTest(parameterized.TestCase):

  @parameterized.parameters("mean", "clean", "velocity")
  def test_cached_steps_equal_the_parallel_pass(self, output):
    # With features: the state is then x, which makes no difference here.
    config = tiny.config(model__predictor={
        "layers": 2, "width": 16, "num_heads": 2, "num_kv_heads": 1, "output": output,
        "reads_noise": True, "context": "history"}, model__transporter__features=3,
        process__t_min_low=0.01)
    model, params = tiny.model_and_params(config)
    trajectory = tiny.trajectory(config)
    u, times, cond = trajectory.x_KBNC, trajectory.times_KB, trajectory.cond
    apply = jax.jit(functools.partial(model.apply, {"params": params}), static_argnames="method")
    parallel = apply(u[1:], cond.at(times[1:], times[:-1]), method="predict")
    caches = model.init_caches(2, 3)
    for index, k in enumerate((3, 2, 1)):
      *step, caches = apply(u[k], cond.at(times[k], times[k - 1]), caches, jnp.int32(index),
                           method="predict_step")
      for one, all_steps in zip(step, parallel, strict=True):
        np.testing.assert_allclose(one, all_steps[k - 1], atol=2e-5)

  def test_padding_has_a_finite_gradient(self):
    config = tiny.config(model__predictor={
        "layers": 1, "width": 16, "num_heads": 2, "num_kv_heads": 1, "output": "velocity",
        "reads_noise": True},
        process__num_steps=(2, 3), process__t_min_low=0.01)
    model, params = tiny.model_and_params(config)
    t = tiny.trajectory(config)
    t = t.replace(times_KB=t.times_KB.at[2:].set(1), valid_SB=t.valid_SB.at[2].set(0),
                  cond=t.cond.replace(num_steps_B=jnp.full(2, 2)))
    loss = lambda params: model.apply({"params": params}, t, method="log_prob").total_B.sum()
    grads = jax.jit(jax.grad(loss))(params)
    self.assertTrue(all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads)))


if __name__ == "__main__":
  absltest.main()
