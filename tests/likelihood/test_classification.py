import types

import jax
import numpy as np
from absl.testing import absltest

from ntm import api
from ntm.likelihood import classification
from tests.helpers import tiny


class _Gaussians:
  """Importance weights of p(x | y) = N(x; y, 1), whose noise all classes share."""

  config = types.SimpleNamespace(model=types.SimpleNamespace(num_classes=3))

  def log_weights(self, rng, images, labels, num_steps, draws, level_spacing):
    noise_JB = np.log(jax.random.uniform(rng, (draws, len(images)), minval=0.5, maxval=1.5))
    return noise_JB - 0.5 * (images - labels) ** 2


class ClassificationTest(absltest.TestCase):

  def test_it_is_bayes_rule(self):
    images = np.linspace(-2, 4, 11)
    density_BY = np.exp(-0.5 * (images[:, None] - np.arange(3)) ** 2)
    reports = []
    found = classification.log_posterior(
        _Gaussians(), jax.random.key(0), images, 5, progress=lambda *done: reports.append(done))
    np.testing.assert_allclose(np.exp(found), density_BY / density_BY.sum(axis=1, keepdims=True),
                               rtol=1e-6)
    self.assertEqual(reports, [(1, 3), (2, 3), (3, 3)])

  def test_a_model_whose_density_ignores_the_class_knows_nothing(self):
    config = tiny.config(model__num_classes=4)
    _, params = tiny.model_and_params(config)
    images = np.zeros((6, *config.model.image_shape), np.float32)
    posterior = lambda params: np.exp(classification.log_posterior(
        api.Model(config, params, 0), jax.random.key(0), images, 2))
    self.assertGreater(np.ptp(posterior(params)), 0.1)
    np.testing.assert_allclose(posterior(params).sum(axis=1), 1, rtol=1e-6)
    blind = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf * ("label" not in jax.tree_util.keystr(path)), params)
    np.testing.assert_allclose(posterior(blind), 1 / 4, rtol=1e-4)

  def test_the_summary_has_errors_over_images(self):
    log_posterior = np.log(np.array([[0.8, 0.2], [0.4, 0.6], [0.3, 0.7], [0.5, 0.5]]))
    found = classification.summary(log_posterior, np.array([0, 1, 0, 0]))
    right, nats = np.array([1, 1, 0, 1]), -np.log([0.8, 0.6, 0.3, 0.5])
    self.assertEqual(found["accuracy"], 0.75)
    self.assertAlmostEqual(found["accuracy_standard_error"], right.std(ddof=1) / 2)
    self.assertAlmostEqual(found["nats_per_image"], nats.mean())
    self.assertAlmostEqual(found["nats_standard_error"], nats.std(ddof=1) / 2)


if __name__ == "__main__":
  absltest.main()
