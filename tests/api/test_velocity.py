import functools
import pathlib
import tempfile
from unittest import mock

import jax
import numpy as np
from absl.testing import absltest, parameterized

import ntm as package
from ntm import api
from ntm.losses import flow_matching
from tests.helpers import runs, tiny


class VelocityApiTest(parameterized.TestCase):

  @staticmethod
  @functools.cache
  def _model(**changes):
    config = tiny.config(model__kind="flow_matching", **changes)
    init = flow_matching.velocity(config).init
    return api.VelocityModel(config, tiny.random_params(lambda rng: {"params": init(rng)}), 0)

  def test_samples_are_images_and_a_function_of_the_key(self):
    model, progress = self._model(), mock.Mock()
    draw = lambda seed, **how: model.sample(jax.random.key(seed), [0, 1, 2], num_steps=2, **how)
    self.assertEqual((draw(0).shape, draw(0).dtype), ((3, 4, 4, 1), np.float32))
    np.testing.assert_array_equal(draw(0), draw(0))
    self.assertGreater(np.abs(draw(0) - draw(1, progress=progress)).max(), 0.1)
    progress.assert_called_once_with(3, 3)
    self.assertGreater(np.abs(draw(0) - draw(0, guidance=1.0)).max(), 1e-3)
    self.assertGreater(np.abs(draw(0) - draw(0, solver="gaussian")).max(), 1e-3)

  def test_a_series_in_two_calls_is_that_of_one(self):
    model, labels = self._model(), np.arange(260) % 3
    draw = lambda labels, **how: model.sample(jax.random.key(0), labels, num_steps=1, **how)
    np.testing.assert_array_equal(draw(labels[256:], offset=256), draw(labels)[256:])

  def test_unconditional(self):
    images = self._model(model__num_classes=0).sample(
        jax.random.key(0), num_samples=2, num_steps=2, solver="dpm++")
    self.assertEqual(images.shape, (2, 4, 4, 1))

  @parameterized.parameters(
      (dict(labels=[3]), "label 3 is out of range"), (dict(labels=None), "labels is None"),
      (dict(labels=[0], num_steps=0), "num_steps is 0; expected at least 1"),
      (dict(labels=[0], solver="rk4"), "solver is 'rk4'; expected one of euler"),
      (dict(labels=[0], guidance=np.inf), "guidance is inf"))
  def test_bad_requests_are_named(self, arguments, message):
    with self.assertRaisesRegex(ValueError, message):
      self._model().sample(jax.random.key(0), **arguments)

  def test_restored_by_kind(self):
    workdir = pathlib.Path(tempfile.mkdtemp())
    runs.write(workdir, tiny.config(model__kind="flow_matching"))
    self.assertIsInstance(package.restore(workdir), api.VelocityModel)
    with self.assertRaisesRegex(ValueError, "flow-matching model, which has no trajectory like"):
      api.restore_density(workdir)


if __name__ == "__main__":
  absltest.main()
