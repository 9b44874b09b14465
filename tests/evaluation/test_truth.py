"""Known models have their known divergences, and exact draws their known shares."""

import types

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm.evaluation import truth
from ntm.process.trajectory import sample_trajectory
from ntm.truth import gaussian_chain, trajectories
from ntm.truth.mixtures import GaussianMixture, UniformMixture
from tests.truth import examples

_TIMES = np.linspace(0.05, 1, 4)
# Numbers of draws are multiples of the chunks in which they are scored, all of one shape.
_log_steps = jax.jit(trajectories.log_steps, static_argnums=0)
_log_ratios = jax.jit(gaussian_chain.log_ratios, static_argnums=(0, 3))


def _model(mixture, log_steps):
  """What `divergence` asks of a model, with given log-likelihoods of steps."""
  def draw(rng, images, labels, num_steps):
    with jax.enable_x64(True):
      x_KBD = sample_trajectory(rng, jnp.asarray(images), jnp.asarray(_TIMES))
      times_KB = np.broadcast_to(np.asarray(_TIMES)[:, None], x_KBD.shape[:2])
      return np.asarray(x_KBD), times_KB, np.asarray(log_steps(mixture, x_KBD, times_KB, labels))

  return types.SimpleNamespace(trajectories=draw)


def _gaussian_steps(mixture, x_KBD, times_KB, labels):
  return (_log_steps(mixture, x_KBD, times_KB, labels)
          - _log_ratios(mixture, x_KBD, times_KB, False, labels))


class DivergenceTest(parameterized.TestCase):

  @parameterized.product(named=examples.BOTH, given=(False, True))
  def test_the_truth_and_its_gaussian_chain_are_where_they_must_be(self, named, given):
    _, mixture = named
    images, components = examples.draws(mixture, 256)
    labels = components if given else None
    measure = lambda steps: truth.divergence(
        _model(mixture, steps), jax.random.key(0), mixture, images, labels, None, draws=2)
    exact, step_SB = measure(_log_steps)
    self.assertEqual(step_SB.shape, (3, 256))
    self.assertAlmostEqual(exact["kl_to_truth_nats"], 0, places=9)
    self.assertAlmostEqual(exact["kl_to_truth_standard_error"], 0, places=9)
    offset_S1 = np.array([0.5, 0.25, 0])[:, None]
    shifted, lower_SB = measure(lambda *args: _log_steps(*args) - offset_S1)
    np.testing.assert_allclose(lower_SB, step_SB - offset_S1, atol=1e-9)
    self.assertAlmostEqual(shifted["kl_to_truth_nats"], 0.75, places=9)
    np.testing.assert_allclose(shifted["kl_per_step"], [0.5, 0.25, 0], atol=1e-9)
    gaussian, _ = measure(_gaussian_steps)
    for name in ("nats", "standard_error"):
      self.assertAlmostEqual(gaussian[f"kl_to_truth_{name}"], gaussian[f"gaussian_kl_{name}"],
                             places=9)
    self.assertAlmostEqual(sum(gaussian["kl_per_step"]), gaussian["gaussian_kl_nats"], places=9)
    if given and isinstance(mixture, GaussianMixture):
      self.assertAlmostEqual(gaussian["gaussian_kl_nats"], 0, places=9)
    else:
      self.assertGreater(gaussian["gaussian_kl_nats"], 0)


class SampleMetricsTest(parameterized.TestCase):

  @parameterized.product(named=examples.BOTH, level=(0.0, 0.03))
  def test_exact_draws_differ_by_their_number_alone(self, named, level):
    _, mixture = named
    found = truth.sample_metrics(mixture, truth.draw(0, mixture, 4096, level), level)
    if isinstance(mixture, GaussianMixture):
      self.assertAlmostEqual(found["in_mode_share"], 1 - np.exp(-4.5),
                             delta=4 * np.sqrt(0.011 / 4096))
    else:
      self.assertGreater(found["in_mode_share"], 0.99)
    self.assertLess(found["mode_weight_total_variation"], 0.03)
    self.assertLess(found["grid_total_variation"], 0.2)
    few = truth.sample_metrics(mixture, truth.draw(0, mixture, 512, level), level)
    self.assertGreater(few["grid_total_variation"], 1.5 * found["grid_total_variation"])

  def test_missing_modes_and_points_between_them_are_seen(self):
    mixture = GaussianMixture(np.array([[-1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]), 0.05)
    one = np.array([1.0, 0.0]) + 0.05 * np.random.default_rng(0).normal(size=(2048, 2))
    found = truth.sample_metrics(mixture, one, 0.0)
    self.assertAlmostEqual(found["mode_weight_total_variation"], 0.75, places=6)
    self.assertAlmostEqual(found["grid_total_variation"], 0.75, delta=0.05)
    found = truth.sample_metrics(mixture, np.zeros((512, 2)) + [[0.3, 0.1]], 0.0)
    self.assertEqual(found["in_mode_share"], 0)
    self.assertAlmostEqual(found["grid_total_variation"], 1, places=3)
    # What is outside of the cells counts too.
    found = truth.sample_metrics(mixture, np.full((256, 2), 7.0), 0.0)
    self.assertAlmostEqual(found["grid_total_variation"], 1, places=6)

  def test_cells_of_a_uniform_square_are_full_or_empty(self):
    mixture = UniformMixture(np.array([[0.0, 0.0]]), np.array([[0.5, 0.5]]))
    half = truth.draw(0, mixture, 20_480, 0.0) * [0.6, 1]  # On three fifths of the square.
    found = truth.sample_metrics(mixture, half, 0.0)
    self.assertAlmostEqual(found["grid_total_variation"], 0.4, delta=0.02)

  def test_images_have_no_cells(self):
    mixture = GaussianMixture(np.zeros((2, 9)) + [[0], [1]], 0.1)
    found = truth.sample_metrics(mixture, truth.draw(0, mixture, 512, 0.1), 0.1)
    self.assertSetEqual(set(found), {"in_mode_share", "mode_weight_total_variation"})


if __name__ == "__main__":
  absltest.main()
