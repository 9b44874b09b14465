"""Bayes' rule against quadrature, products against joint densities, draws against both."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from scipy import stats

from ntm.process import kernel, schedule
from ntm.process.trajectory import sample_trajectory
from ntm.truth import trajectories
from tests.truth import examples

# Compiled: one by one, each of their many operations would be a program.
_log_steps, _log_density, _log_components = (
    jax.jit(function, static_argnums=0) for function in
    (trajectories.log_steps, trajectories.log_density, trajectories.log_components))
_sample_step = jax.jit(trajectories.sample_step, static_argnums=1)
_step_moments = jax.jit(trajectories.step_moments, static_argnums=(0, 4))
_clean_means = jax.jit(lambda mixture, *args: mixture.clean_moments(*args)[0], static_argnums=0)
_STATES = np.array([[0.1, 0.2], [-0.5, -0.3], [1.1, 0.6]])


def _states(mixture, times_K, count, seed=0):
  """Forward trajectories of fresh examples, and the components of those."""
  x0, components = examples.draws(mixture, count, seed)
  return sample_trajectory(jax.random.key(seed), jnp.asarray(x0), times_K), components


class TrajectoriesTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.enterContext(jax.enable_x64(True))

  @parameterized.product(named=examples.BOTH, levels=((0.3, 0.7), (0.1, 0.15), (0.4, 1.0)))
  def test_reverse_steps_are_those_by_quadrature(self, named, levels):
    """q(x_s | x_t) = sum over x_0 of q(x_s | x_t, x_0) q(x_0 | x_t)."""
    _, mixture = named
    s, t = levels
    a, b, c = (float(part) for part in kernel.reverse_posterior(t, s))
    for i, x_t in enumerate(_STATES):
      x_s = a * x_t + b * np.array([0.3, -0.4]) + 0.1 * i
      x0_JPD, mass_JP = examples.joint(mixture, x_t, t)
      step_JP = (np.exp(-((x_s - a * x_t - b * x0_JPD) ** 2).sum(-1) / 2 / c ** 2)
                 / (2 * np.pi * c ** 2))
      x_KBD, times_K = np.stack([x_s, x_t])[:, None], np.array([s, t])
      found = _log_steps(mixture, x_KBD, times_K)
      self.assertAlmostEqual(float(found[0, 0]),
                             np.log((step_JP * mass_JP).sum() / mass_JP.sum()), places=6)
      chosen = _log_steps(mixture, x_KBD, times_K, np.array([1]))
      self.assertAlmostEqual(float(chosen[0, 0]),
                             np.log((step_JP * mass_JP)[1].sum() / mass_JP[1].sum()), places=6)

  @parameterized.named_parameters(*examples.BOTH)
  def test_a_trajectory_has_the_density_of_its_steps(self, mixture):
    """The product of reverse steps and noise is the integral of q(x_0) q(trajectory | x_0)."""
    times_K = schedule.uniform_times(3, 0.1)
    x_KBD, _ = _states(mixture, times_K, 4)
    total_B = np.asarray(_log_steps(mixture, x_KBD, times_K).sum(0)
                         + stats.norm.logpdf(np.asarray(x_KBD[-1])).sum(-1))
    covariance = np.asarray(kernel.trajectory_covariance(times_K))
    x0_JPD, mass_JP = examples.nodes(mixture)
    for b in range(4):
      of_x0_JP = sum(stats.multivariate_normal(np.zeros(4), covariance).logpdf(
          np.asarray(x_KBD[:, b, d]) - (1 - np.asarray(times_K)) * x0_JPD[..., d:d + 1])
                     for d in range(2))
      self.assertAlmostEqual(total_B[b], np.log((mass_JP * np.exp(of_x0_JP)).sum()), places=6)

  @parameterized.named_parameters(*examples.BOTH)
  def test_the_density_of_a_level_integrates_to_one_and_its_step_too(self, mixture):
    axis = np.linspace(-3, 3, 151)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    area = (axis[1] - axis[0]) ** 2
    log_P = _log_density(mixture, grid, 0.2)
    self.assertAlmostEqual(float(np.exp(log_P).sum() * area), 1, places=4)
    x_KBD = np.stack([grid, np.broadcast_to([0.3, 0.1], grid.shape)])
    step_P = _log_steps(mixture, x_KBD, np.array([0.2, 0.6]))[0]
    self.assertAlmostEqual(float(np.exp(step_P).sum() * area), 1, places=4)

  @parameterized.product(named=examples.BOTH, full=(False, True))
  def test_moments_are_those_of_the_density_of_a_step(self, named, full):
    _, mixture = named
    s, t, x_t = 0.15, 0.6, np.array([0.05, 0.1])
    axis = np.linspace(-2.5, 2.5, 201)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    x_KBD = np.stack([grid, np.broadcast_to(x_t, grid.shape)])
    mass_P = np.exp(_log_steps(mixture, x_KBD, np.array([s, t]))[0])
    mass_P /= mass_P.sum()
    mean, covariance = _step_moments(mixture, x_t, t, s, full)
    offset = grid - mass_P @ grid
    expected = np.einsum("p,pd,pe->de", mass_P, offset, offset)
    np.testing.assert_allclose(mean, mass_P @ grid, atol=1e-6)
    np.testing.assert_allclose(covariance, expected if full else np.diag(expected), atol=1e-6)

  @parameterized.product(named=examples.BOTH, levels=((0.15, 0.6), (0.1, 1.0), (0.02, 0.1)))
  def test_drawn_steps_fill_cells_by_their_density(self, named, levels):
    _, mixture = named
    (s, t), count = levels, 20_000
    # Around one state: cells of equal size over 4 standard deviations of the step.
    x_t = (1 - t) * _clean_means(mixture, np.zeros((1, 2)), 1.0)[0, 1]
    drawn = np.asarray(_sample_step(
        jax.random.key(0), mixture, jnp.tile(x_t, (count, 1)), t, s))
    mean, variance = (np.asarray(part) for part in _step_moments(mixture, x_t, t, s))
    self.assertTrue((abs(drawn.mean(0) - mean) < 4.5 * np.sqrt(variance / count)).all())
    edges = [np.linspace(m - 4 * v ** 0.5, m + 4 * v ** 0.5, 9) for m, v in zip(mean, variance)]
    fine = [np.linspace(e[0], e[-1], 8 * 24 + 1) for e in edges]
    middle = [(f[1:] + f[:-1]) / 2 for f in fine]
    grid = np.stack(np.meshgrid(*middle, indexing="ij"), -1).reshape(-1, 2)
    log_P = _log_steps(
        mixture, np.stack([grid, np.broadcast_to(x_t, grid.shape)]), np.array([s, t]))[0]
    mass = np.exp(np.asarray(log_P)).reshape(8, 24, 8, 24).sum((1, 3))
    mass *= np.prod([f[1] - f[0] for f in fine])
    share = np.histogram2d(*drawn.T, bins=edges)[0] / count
    self.assertTrue((abs(share - mass) < 5 * np.sqrt(mass / count) + 2e-4).all())

  @parameterized.named_parameters(*examples.BOTH)
  def test_reverse_chains_end_as_the_forward_process_begins(self, mixture):
    count, times_K = 5000, schedule.uniform_times(3, 0.05)
    x_BD = jax.random.normal(jax.random.key(1), (count, 2))
    for k in (3, 2, 1):
      x_BD = _sample_step(jax.random.key(k), mixture, x_BD, times_K[k], times_K[k - 1])
    forward_BD = _states(mixture, times_K, count)[0][0]
    for function in (lambda x: x, lambda x: x ** 2, lambda x: x[:, :1] * x[:, 1:]):
      one, other = (np.asarray(function(x)) for x in (x_BD, forward_BD))
      error = np.sqrt((one.var(0) + other.var(0)) / count)
      self.assertTrue((abs(one.mean(0) - other.mean(0)) < 4.5 * error).all())

  @parameterized.named_parameters(*examples.BOTH)
  def test_given_components_weigh_their_conditional_densities(self, mixture):
    log_J = [_log_density(mixture, _STATES, 0.3, np.full(3, j)) for j in range(3)]
    total = np.exp(np.stack(log_J) + mixture.log_weight_J[:, None]).sum(0)
    np.testing.assert_allclose(total, np.exp(_log_density(mixture, _STATES, 0.3)))
    x = _sample_step(jax.random.key(0), mixture, jnp.zeros((1000, 2)), 1.0, 0.01,
                                 jnp.full(1000, 2))
    weight_J = jax.nn.softmax(_log_components(mixture, x, 0.01))
    self.assertGreater(weight_J[:, 2].min(), 0.5)


if __name__ == "__main__":
  absltest.main()
