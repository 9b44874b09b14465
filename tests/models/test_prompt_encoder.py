import dataclasses
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import torch
from absl.testing import absltest, parameterized

from ntm.models import prompt_encoder
from tests.helpers import qwen_pair, tiny, tiny_text_encoder


def _with(config, **text):
  return dataclasses.replace(config, text=dataclasses.replace(config.text, **text))


class PromptEncoderTest(parameterized.TestCase):

  def test_features_are_the_hidden_states_of_transformers(self):
    encoder = prompt_encoder.encoder(tiny_text_encoder.config())
    params, batch = tiny_text_encoder.frozen().text_encoder, tiny_text_encoder.batch(6)
    theirs = qwen_pair.language_model("qwen3", vocab_size=300)
    with torch.no_grad():
      states = theirs(torch.from_numpy(batch["ids"]).long(), torch.from_numpy(batch["mask"]).long(),
                      output_hidden_states=True).hidden_states
    expected = np.concatenate([states[i].numpy() for i in (1, 2)], axis=-1)
    seen = batch["mask"]
    whole = jax.jit(encoder.features)(params, batch["ids"], seen)
    np.testing.assert_allclose(whole[seen], expected[seen], atol=1e-4)
    with mock.patch.object(prompt_encoder, "_TOKENS", 24):  # Two texts at a time.
      parts = jax.jit(lambda *args: encoder.features(*args))(params, batch["ids"], seen)
    np.testing.assert_allclose(parts, whole, atol=1e-5)

  def test_layers_that_are_not_read_are_left_out(self):
    layers = tiny_text_encoder.frozen().text_encoder["layers"]
    self.assertEqual({len(leaf) for leaf in jax.tree.leaves(layers)}, {2})

  def test_features_are_in_the_type_of_the_networks(self):
    encoder = prompt_encoder.encoder(tiny_text_encoder.config(model__dtype="bfloat16"))
    batch = tiny_text_encoder.batch(2)
    found = jax.eval_shape(encoder.features, tiny_text_encoder.frozen().text_encoder,
                           batch["ids"], batch["mask"])
    self.assertEqual((found.shape, found.dtype), ((2, 12, 64), jnp.bfloat16))

  def test_sizes_are_known_without_weights(self):
    config = _with(tiny_text_encoder.config(model__backbone__text_width=7680), encoder="/nowhere",
                   hidden_states=(9, 18, 27))
    encoder = prompt_encoder.encoder(config)
    shapes = jax.eval_shape(encoder.init, jax.random.key(0))
    # 27 of 36 layers of Qwen3-4B.
    size = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    self.assertEqual(size, 151936 * 2560 + 27 * (4_022_468_096 - 151936 * 2560 - 2560) // 36)
    self.assertEqual(prompt_encoder.vocab_size(config.text, 7680), 151936)
    self.assertIsNone(prompt_encoder.encoder(tiny.config()))

  def test_what_does_not_fit_is_refused(self):
    config = tiny_text_encoder.config()
    with self.assertRaisesRegex(ValueError, "is 64, but 3 hidden states .* have a width of 96"):
      prompt_encoder.encoder(_with(config, hidden_states=(0, 1, 2)))
    with self.assertRaisesRegex(ValueError, "expected numbers from 0 to 3, the layers"):
      prompt_encoder.encoder(_with(config, hidden_states=(1, 4)))
    with self.assertRaisesRegex(ValueError, "no published encoder has hidden states of width 32"):
      prompt_encoder.encoder(_with(config, encoder="/nowhere"))
    made = {"family": "sit", "architecture": {}}
    with (mock.patch.object(prompt_encoder.record, "read", lambda path: made),
          self.assertRaisesRegex(ValueError, "family 'sit'; expected one of qwen3, qwen2_5_vl")):
      prompt_encoder.encoder(config)


if __name__ == "__main__":
  absltest.main()
