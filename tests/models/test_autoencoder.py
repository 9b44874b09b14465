import contextlib
import dataclasses
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ntm import config as config_lib
from ntm.models import autoencoder
from ntm.nn import partitioning
from tests.helpers import tiny, tiny_autoencoder


def _at(config, path):
  return dataclasses.replace(config, autoencoder=config_lib.AutoencoderConfig(str(path)))


class CodecTest(parameterized.TestCase):

  def test_shapes_follow_from_the_latents(self):
    kl, flux2 = (autoencoder.codec(tiny_autoencoder.config(which)) for which in ("kl", "flux2"))
    self.assertEqual((kl.image_shape, kl.moments_shape), ((8, 8, 3), (4, 4, 4)))
    self.assertEqual((flux2.image_shape, flux2.moments_shape), ((8, 8, 3), (4, 4, 8)))
    self.assertIsNone(autoencoder.codec(tiny.config()))
    self.assertEqual(autoencoder.image_shape(tiny.config()), (4, 4, 1))

  @parameterized.parameters("kl", "flux2")
  def test_parts_of_a_batch_in_turn_give_the_whole(self, which):
    config = tiny_autoencoder.config(which, mesh={"data": 4, "fsdp": 2})
    codec, params = autoencoder.codec(config), tiny_autoencoder.frozen(which).autoencoder
    image = tiny_autoencoder.batch(16)["image"]
    mesh = partitioning.make_mesh(config.mesh)

    def both(image):
      mean, std = codec.moments(params, image)
      return mean, std, codec.decode(params, codec.normalise(params, mean))

    with mock.patch.object(jax.lax, "map", wraps=jax.lax.map) as turns:
      whole = jax.jit(both)(image)
      turns.assert_not_called()
      for limit, devices, length in ((1, 1, 16), (64 * 5, 1, 4), (64, 8, 2)):
        turns.reset_mock()
        with (mock.patch.object(autoencoder, "_PIXELS", limit),
              partitioning.activations(mesh) if devices > 1 else contextlib.nullcontext()):
          given = partitioning.put_batch(mesh, image) if devices > 1 else image
          parts = jax.jit(lambda image: both(image))(given)
        self.assertEqual([len(call.args[1]) for call in turns.mock_calls], [length] * 2)
        for a, b in zip(parts, whole):
          np.testing.assert_allclose(a, b, atol=2e-5)

  def test_a_batch_that_no_part_divides_among_the_devices(self):
    config = tiny_autoencoder.config("kl", mesh={"data": 8})
    codec, params = autoencoder.codec(config), tiny_autoencoder.frozen("kl").autoencoder
    image = tiny_autoencoder.batch(3)["image"]
    expected = jax.jit(codec.moments)(params, image)
    with (partitioning.activations(partitioning.make_mesh(config.mesh)),
          mock.patch.object(autoencoder, "_PIXELS", 1)):
      found = jax.jit(lambda *args: codec.moments(*args))(params, image)
    np.testing.assert_allclose(found[0], expected[0], atol=2e-5)

  def test_bfloat16_gives_float32_near_that_of_float32(self):
    exact, rounded = (
        jax.jit(autoencoder.codec(tiny_autoencoder.config(model__dtype=dtype)).moments)(
            tiny_autoencoder.frozen("kl").autoencoder, tiny_autoencoder.batch(2)["image"])
        for dtype in ("float32", "bfloat16"))
    for a, b in zip(exact, rounded):
      self.assertEqual((a.dtype, b.dtype), (jnp.float32, jnp.float32))
      self.assertBetween(np.abs(a - b).max() / np.abs(a).max(), 1e-5, 0.1)

  def test_what_is_decoded_is_in_range(self):
    codec = autoencoder.codec(tiny_autoencoder.config())
    params = tiny_autoencoder.frozen("kl").autoencoder
    latents = 20 * jax.random.normal(jax.random.key(0), (2, 4, 4, 4))
    image = jax.jit(codec.decode)(params, latents)
    self.assertEqual((np.abs(image).max(), image.dtype), (1, jnp.float32))

  @parameterized.parameters((4, 8, 83_653_863), (128, 16, 84_046_371))
  def test_sizes_are_known_without_weights(self, channels, factor, parameters):
    config = tiny.config(model__image_shape=(16, 16, channels), autoencoder__path="/nowhere")
    codec = autoencoder.codec(config)
    self.assertEqual(codec.image_shape, (16 * factor, 16 * factor, 3))
    shapes = jax.eval_shape(codec.init, jax.random.key(0))
    self.assertEqual(sum(leaf.size for leaf in jax.tree.leaves(shapes)), parameters)

  def test_what_does_not_fit_is_refused(self):
    with self.assertRaisesRegex(ValueError, r"have 4 channels; set it to \(height, width, 4\)"):
      autoencoder.codec(tiny_autoencoder.config("kl", model__image_shape=(4, 4, 5)))
    with self.assertRaisesRegex(ValueError, "no published autoencoder has the 5 channels"):
      autoencoder.codec(_at(tiny.config(model__image_shape=(4, 4, 5)), "/nowhere"))
    made = {"family": "sit", "architecture": {}}
    with (mock.patch.object(autoencoder.record, "read", lambda path: made),
          self.assertRaisesRegex(ValueError, "family 'sit'; expected one of autoencoder_kl")):
      autoencoder.codec(tiny_autoencoder.config())


if __name__ == "__main__":
  absltest.main()
