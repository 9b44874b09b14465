"""The divergence of the best Gaussian chain, against integrals and known cases."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm.config import DataConfig
from ntm.process import schedule
from ntm.process.trajectory import sample_trajectory
from ntm.truth import gaussian_chain, named, trajectories
from ntm.truth.mixtures import GaussianMixture
from tests.truth import examples


def _trajectories(mixture, times_K, count):
  x0, components = examples.draws(mixture, count)
  return sample_trajectory(jax.random.key(0), jnp.asarray(x0), times_K), components


_compiled = jax.jit(gaussian_chain.log_ratios, static_argnums=(0, 3))
_log_density = jax.jit(trajectories.log_density, static_argnums=0)


def _log_ratios(mixture, x_KBD, times_K, full=False, component_B=None):
  """As the function tested, compiled."""
  return np.asarray(_compiled(mixture, x_KBD, times_K, full, component_B))


class GaussianChainTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.enterContext(jax.enable_x64(True))

  @parameterized.product(full=(False, True), given=(False, True))
  def test_gaussian_data_need_no_more_than_gaussian_steps(self, full, given):
    mixture = examples.GAUSSIAN if given else GaussianMixture(np.array([[0.3, -0.2]]), 0.4)
    times_K = schedule.uniform_times(4, 0.02)
    x_KBD, components = _trajectories(mixture, times_K, 100)
    ratio_SB = _log_ratios(mixture, x_KBD, times_K, full, components if given else None)
    np.testing.assert_allclose(ratio_SB, 0, atol=1e-9)

  @parameterized.product(named_mixture=examples.BOTH, full=(False, True))
  def test_one_step_is_the_divergence_by_quadrature(self, named_mixture, full):
    """With T = 1 it is KL(q_{t_0} || N(its moments)), one integral."""
    _, mixture = named_mixture
    t = 0.1
    axis = np.linspace(-2, 2, 301)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    log_P = np.asarray(_log_density(mixture, grid, t))
    mass_P = np.exp(log_P) * (axis[1] - axis[0]) ** 2
    offset = grid - mass_P @ grid
    covariance = np.einsum("p,pd,pe->de", mass_P, offset, offset)
    log_det = (np.linalg.slogdet(covariance)[1] if full
               else np.log(np.diag(covariance)).sum())
    expected = (mass_P * log_P).sum() + 0.5 * log_det + np.log(2 * np.pi) + 1
    times_K = schedule.uniform_times(1, t)
    ratio_B = _log_ratios(mixture, _trajectories(mixture, times_K, 10_000)[0], times_K, full)[0]
    self.assertAlmostEqual(ratio_B.mean(), expected,
                           delta=4 * ratio_B.std() / np.sqrt(len(ratio_B)))

  def test_dependent_dimensions_help_and_other_moments_do_not(self):
    times_K = schedule.uniform_times(3, 0.05)
    x_KBD, _ = _trajectories(examples.UNIFORM, times_K, 5000)
    full, diagonal = (_log_ratios(examples.UNIFORM, x_KBD, times_K, f) for f in (True, False))
    self.assertLess(full.sum(0).mean(), diagonal.sum(0).mean())
    self.assertGreater(full.sum(0).mean(), 0)
    log_q_SB = np.asarray(jax.jit(
        lambda x_KBD: trajectories.log_steps(examples.UNIFORM, x_KBD, times_K))(x_KBD))
    mean, variance = (np.asarray(part) for part in jax.jit(
        lambda x_SBD: trajectories.step_moments(examples.UNIFORM, x_SBD, times_K[1:, None],
                                                times_K[:-1, None]))(x_KBD[1:]))
    for shift, factor in ((0.05, 1), (0, 1.3), (0, 0.8)):
      square = (np.asarray(x_KBD[:-1]) - mean - shift) ** 2 / (factor * variance)
      log_p_SB = -0.5 * (square + np.log(2 * np.pi * factor * variance)).sum(-1)
      self.assertGreater((log_q_SB - log_p_SB).sum(0).mean(), diagonal.sum(0).mean())

  @parameterized.parameters((1, 2.50), (2, 2.45), (4, 2.24), (8, 1.58), (16, 0.42))
  def test_the_grid_of_25_has_the_known_values(self, num_steps, nats):
    """Values of an independent computation with 20,000 draws, to two decimals."""
    mixture = named.build(DataConfig(source="mixture", mixture="grid25"), (2, 1))
    times_K = schedule.uniform_times(num_steps, 0.02)
    ratio_B = _log_ratios(mixture, _trajectories(mixture, times_K, 5000)[0], times_K).sum(0)
    # Of this mean and of that of four times as many draws, rounded.
    error = np.sqrt(1.25) * ratio_B.std() / np.sqrt(len(ratio_B))
    self.assertAlmostEqual(ratio_B.mean(), nats, delta=3 * error + 0.005)


if __name__ == "__main__":
  absltest.main()
