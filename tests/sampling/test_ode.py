"""Solvers against Gaussian data, whose velocity and flow are known in closed form."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm.models import build
from ntm.process import schedule
from ntm.sampling import ode
from ntm.typing import Condition
from tests.helpers import tiny

_MEAN, _SCALE = 0.7, 0.4


def _velocity(x, t):
  """E[eps - x_0 | x_t] for x_0 ~ N(mean, scale^2)."""
  variance = (1 - t) ** 2 * _SCALE ** 2 + t ** 2
  clean = _MEAN + _SCALE ** 2 * (1 - t) / variance * (x - (1 - t) * _MEAN)
  # (x - clean) / t, without the 0/0 at t = 0.
  noise = t / variance * (x - (1 - t) * _MEAN)
  return noise - clean


@functools.cache
def _sampler(solver, steps, shape, velocity):
  times = schedule.uniform_times(steps, 0.0).astype(jnp.float64)
  return jax.jit(lambda rng: ode.sample(rng, velocity, times, shape, solver))


def _states(solver, steps, shape=(64, 2, 3), seed=0, velocity=_velocity):
  return _sampler(solver, steps, shape, velocity)(jax.random.key(seed))


class OdeTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.enterContext(jax.enable_x64(True))

  @parameterized.parameters(("euler", 1), ("heun", 2), ("dpm++", 2))
  def test_order_of_convergence(self, solver, order):
    errors = []
    # Many: DPM-Solver++ reaches its order slowly, having taken three steps at first order.
    for steps in (320, 640):
      x = _states(solver, steps)
      exact = _MEAN + _SCALE * x[-1]  # The flow keeps quantiles.
      errors.append(float(jnp.abs(x[0] - exact).mean()))
    self.assertAlmostEqual(np.log2(errors[0] / errors[1]), order, delta=0.25)

  @parameterized.product(solver=ode.SOLVERS, steps=(1, 2, 5))
  def test_one_image_is_reached_in_any_number_of_steps(self, solver, steps):
    image = jnp.linspace(-1, 1, 6).reshape(2, 3)
    towards = lambda x, t: (x - image) / jnp.where(t > 0, t, 1)
    x = _states(solver, steps, velocity=towards)
    np.testing.assert_allclose(x[0], jnp.broadcast_to(image, x[0].shape), atol=1e-12)

  def test_the_gaussian_chain_has_the_marginals_of_the_data(self):
    # C leaves out the uncertainty of the clean estimate: too narrow by O(1/steps).
    coarse, fine = (_states("gaussian", steps, shape=(20_000, 1, 1))[0] for steps in (16, 256))
    self.assertAlmostEqual(float(fine.mean()), _MEAN, delta=0.01)
    self.assertAlmostEqual(float(fine.std()), _SCALE, delta=0.015)
    self.assertLess(float(coarse.std()), 0.9 * _SCALE)

  def test_one_step_of_the_gaussian_chain_is_the_posterior(self):
    levels = jnp.asarray([0.25, 1.0])
    x = jax.jit(lambda rng: ode.sample(rng, _velocity, levels, (50_000, 1, 1), "gaussian"))(
        jax.random.key(1))
    # From pure noise the clean estimate is the mean of the data: B x_0 = 0.75 m, C = 0.25.
    self.assertAlmostEqual(float(x[0].mean()), 0.75 * _MEAN, delta=0.005)
    self.assertAlmostEqual(float(x[0].std()), 0.25, delta=0.005)

  @parameterized.product(solver=ode.SOLVERS, steps=(1, 4))
  def test_evaluations_are_counted_as_they_happen(self, solver, steps):
    count = 0

    def counting(x, t):
      nonlocal count
      count += 1
      return _velocity(x, t)

    with jax.disable_jit():
      _states(solver, steps, shape=(1, 1, 1), velocity=counting)
    self.assertEqual(count, ode.evaluations(solver, steps))

  def test_states_start_at_noise_and_are_a_function_of_the_key(self):
    a, b, c = (_states("gaussian", 3, seed=seed) for seed in (0, 0, 1))
    self.assertEqual(a.shape, (4, 64, 2, 3))
    np.testing.assert_array_equal(a, b)
    self.assertGreater(float(jnp.abs(a[-1] - c[-1]).min()), 0)
    self.assertAlmostEqual(float(a[-1].std()), 1, delta=0.1)

  def test_unknown_solver(self):
    with self.assertRaisesRegex(ValueError, r"solver is 'rk4'; expected one of euler, heun, dpm"):
      _states("rk4", 2)


@functools.cache
def _network():
  config = tiny.config(model__kind="flow_matching")
  model = build.velocity(config)
  cond = Condition(label_B=jnp.asarray([0, 2]))
  args = (jnp.zeros((2, 4, 4)), cond.at(jnp.zeros(2)))
  params = tiny.random_params(lambda rng: model.init(rng, *args))
  x = jax.random.normal(jax.random.key(0), (2, 4, 4))
  return jax.jit(lambda *args: model.apply({"params": params}, *args)), x, cond


class GuidanceTest(parameterized.TestCase):

  def test_scale_zero_is_the_conditional(self):
    velocity, x, cond = _network()
    plain = ode.guided(velocity, cond, None, None)(x, 0.3)
    guided = ode.guided(velocity, cond, Condition(label_B=jnp.full(2, 3)), 0.0)(x, 0.3)
    np.testing.assert_allclose(guided, plain, atol=1e-6)

  def test_linear_extrapolation_from_the_null_class(self):
    velocity, x, cond = _network()
    time, null_cond = jnp.full(2, 0.3), Condition(label_B=jnp.full(2, 3))
    null, conditional = velocity(x, null_cond.at(time)), velocity(x, cond.at(time))
    guided = ode.guided(velocity, cond, null_cond, 1.5)(x, 0.3)
    np.testing.assert_allclose(guided, 2.5 * conditional - 1.5 * null, atol=1e-5)
    self.assertGreater(float(jnp.abs(guided - conditional).max()), 0.01)


if __name__ == "__main__":
  absltest.main()
