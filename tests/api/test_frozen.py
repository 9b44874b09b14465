import dataclasses
import pathlib
import tempfile
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from ntm import api
from ntm import config as config_lib
from ntm.api import batching, checks
from ntm.data import captions
from ntm.models import autoencoder, prompt_encoder
from tests.helpers import runs, tiny_autoencoder, tiny_text_encoder


def _restore(**changes):
  workdir = pathlib.Path(tempfile.mkdtemp()) / "run"
  runs.write(workdir, tiny_autoencoder.config("kl", **changes))
  return api.restore(workdir)


class FrozenNetworksTest(absltest.TestCase):

  def test_samples_are_networks_or_latents(self):
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

  def test_the_likelihood_of_networks_is_that_of_the_mean_of_their_latents(self):
    model, batch, rng = _restore(), tiny_autoencoder.batch(5), jax.random.key(1)
    module = autoencoder.codec(model.config).module
    variables = {"params": tiny_autoencoder.frozen("kl").autoencoder}
    latents = 0.18215 * module.apply(variables, batch["image"], method="encode")[0]
    found, expected = (model.log_prob(rng, x, batch["label"]).log_prob_B
                       for x in (batch["image"], np.asarray(latents)))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    np.testing.assert_array_equal(model.encode(np.asarray(latents)), latents)
    levels = np.round((batch["image"] + 1) * 127.5).astype(np.uint8)
    with mock.patch.object(batching, "SIZE", 2):
      np.testing.assert_allclose(
          model.encode(levels), model.encode(levels / np.float32(127.5) - 1),
          atol=1e-5)
      np.testing.assert_allclose(model.encode(batch["image"]), latents, atol=1e-5)

  def test_prompts_are_read_through_the_text_encoder(self):
    config = tiny_text_encoder.config()
    workdir = pathlib.Path(tempfile.mkdtemp()) / "run"
    runs.write(workdir, config)
    model, rng = api.restore(workdir), jax.random.key(0)
    prompts = ["a red circle", "three small green triangles", "a red circle"]
    tokens = captions.tokenizer(config.text, config.model.backbone)(prompts)
    text = np.asarray(jax.jit(prompt_encoder.encoder(config).features)(
        tiny_text_encoder.frozen().text_encoder, tokens.ids_BM, tokens.mask_BM))
    # The same parameters in a run that reads features.
    by_hand = dataclasses.replace(config, text=config_lib.TextConfig())
    theirs = api.Model(by_hand, model.params, model.step)
    null = model._networks.condition(checks.null_condition(config), 2).text_BMW
    np.testing.assert_array_equal(null[0], null[1])
    for how, theirs_how in (({}, {}), ({"guidance": 1.5}, {"guidance": 1.5, "null_text": null[0]})):
      found = model.sample(rng, prompts=prompts, refine="none", **how)
      expected = theirs.sample(rng, text, refine="none", **theirs_how)
      np.testing.assert_allclose(found, expected, atol=1e-4)
    images = np.clip(found, -1, 1)
    np.testing.assert_allclose(model.log_prob(rng, images, prompts).log_prob_B,
                               theirs.log_prob(rng, images, text).log_prob_B, rtol=1e-4)

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
