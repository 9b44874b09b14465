import pathlib
import tempfile
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from ntm import api
from ntm.api import batching
from ntm.models import autoencoder
from tests.helpers import runs, tiny_autoencoder


def _restore(**changes):
  workdir = pathlib.Path(tempfile.mkdtemp()) / "run"
  runs.write(workdir, tiny_autoencoder.config("kl", **changes))
  return api.restore(workdir)


class PixelsTest(absltest.TestCase):

  def test_samples_are_pixels_or_latents(self):
    for changes, how in (({}, {"refine": "none"}),
                         ({"model__kind": "flow_matching"}, {"num_steps": 2})):
      model = _restore(**changes)
      images, latents = (model.sample(jax.random.key(0), [0, 2, 1], decode=decode, **how)
                         for decode in (True, False))
      self.assertEqual(images.shape, (3, 8, 8, 3))
      self.assertEqual(latents.shape, (3, 4, 4, 4))
      expected = autoencoder.codec(model.config).module.apply(
          {"params": tiny_autoencoder.frozen("kl").autoencoder}, jnp.asarray(latents),
          method="denormalise_and_decode")
      np.testing.assert_allclose(images, np.clip(expected, -1, 1), atol=1e-4)

  def test_the_likelihood_of_pixels_is_that_of_the_mean_of_their_latents(self):
    model, batch, rng = _restore(), tiny_autoencoder.batch(5), jax.random.key(1)
    module = autoencoder.codec(model.config).module
    variables = {"params": tiny_autoencoder.frozen("kl").autoencoder}
    latents = 0.18215 * module.apply(variables, batch["image"], method="encode")[0]
    found, expected = (model.log_prob(rng, x, batch["label"]).log_prob_B
                       for x in (batch["image"], np.asarray(latents)))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    levels = np.round((batch["image"] + 1) * 127.5).astype(np.uint8)
    with mock.patch.object(batching, "SIZE", 2):
      np.testing.assert_allclose(
          model._pixels.encode(levels), model._pixels.encode(levels / np.float32(127.5) - 1),
          atol=1e-5)
      np.testing.assert_allclose(model._pixels.encode(batch["image"]), latents, atol=1e-5)

  def test_what_is_neither_is_refused(self):
    model, rng = _restore(), jax.random.key(0)
    with self.assertRaisesRegex(ValueError, r"\(batch, 8, 8, 3\), or latents \(batch, 4, 4"):
      model.log_prob(rng, np.zeros((2, 8, 8, 1)))
    with self.assertRaisesRegex(ValueError, r"expected \[-1, 1\]"):
      model.log_prob(rng, np.full((2, 8, 8, 3), 1.1))
    with self.assertRaisesRegex(ValueError, "which have no levels; pass None"):
      model.log_weights(rng, np.zeros((2, 8, 8, 3)), level_spacing=0.1)


if __name__ == "__main__":
  absltest.main()
