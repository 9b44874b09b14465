"""Our autoencoders against those of diffusers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import torch
from absl.testing import absltest, parameterized
from diffusers.models.autoencoders import vae

from ntm.published.autoencoders import model as autoencoder
from tests.helpers import autoencoder_pair, parity


@functools.cache
def _compiled(module, method):
  return jax.jit(functools.partial(module.apply, method=method))


def _run(module, variables, x, method):
  return _compiled(module, method)(variables, x)


@functools.partial(jax.jit, static_argnums=(0, 4))
def _gradient(module, variables, x, cotangent, method):
  """(value, gradient of its inner product with the cotangent); of an encoder's the mean."""
  def value(x):
    out = module.apply(variables, x, method=method)
    return jnp.vdot(cotangent, out[0] if method == "encode" else out), out

  gradient, out = jax.grad(value, has_aux=True)(x)
  return out, gradient


def _nchw(array):
  return torch.tensor(np.asarray(array).transpose(0, 3, 1, 2), requires_grad=True)


def _nhwc(tensor):
  return tensor.detach().numpy().transpose(0, 2, 3, 1)


class AutoencodersTest(parameterized.TestCase):

  @parameterized.named_parameters((name, name) for name in autoencoder_pair.MODELS)
  def test_same_latents_images_and_gradients(self, which):
    theirs = autoencoder_pair.theirs(which)
    module, variables = autoencoder_pair.ours(which, theirs.state_dict())
    rng = np.random.default_rng(0)

    image = rng.uniform(-1, 1, (2, 16, 24, 3)).astype(np.float32)
    tensor = _nchw(image)
    posterior = theirs.encode(tensor).latent_dist
    shape = _nhwc(posterior.mean).shape
    cotangent = rng.normal(size=shape).astype(np.float32)
    (posterior.mean * _nchw(cotangent).detach()).sum().backward()
    (mean, logvar), gradient = _gradient(module, variables, image, cotangent, "encode")
    parity.assert_close(f"autoencoder {which} mean", mean, _nhwc(posterior.mean))
    parity.assert_close(f"autoencoder {which} log-variance", logvar, _nhwc(posterior.logvar))
    parity.assert_close(f"autoencoder {which} gradient", gradient, _nhwc(tensor.grad))

    latent = rng.normal(size=shape).astype(np.float32)
    tensor = _nchw(latent)
    decoded = theirs.decode(tensor).sample
    cotangent = rng.normal(size=image.shape).astype(np.float32)
    (decoded * _nchw(cotangent).detach()).sum().backward()
    ours, gradient = _gradient(module, variables, latent, cotangent, "decode")
    parity.assert_close(f"autoencoder {which} image", ours, _nhwc(decoded))
    parity.assert_close(f"autoencoder {which} gradient", gradient, _nhwc(tensor.grad))

  def test_flux2_statistics_in_the_order_of_its_pipeline(self):
    theirs = autoencoder_pair.theirs("flux2")
    module, variables = autoencoder_pair.ours("flux2", theirs.state_dict())
    latent = np.random.default_rng(0).normal(size=(2, 8, 12, 8)).astype(np.float32)
    # Space to depth of PyTorch: channel, row, column. The module normalises as at evaluation.
    expected = theirs.bn(torch.nn.functional.pixel_unshuffle(_nchw(latent), 2))
    normal = _run(module, variables, latent, "normalise")
    parity.assert_close("normalised latent", normal, _nhwc(expected), 1e-6)
    parity.assert_close("latent", _run(module, variables, normal, "denormalise"), latent, 1e-6)
    decoded = _run(module, variables, normal, "denormalise_and_decode")
    parity.assert_close("image", decoded, _nhwc(theirs.decode(_nchw(latent)).sample))

  def test_flux2_decoder_of_its_own_widths(self):
    theirs = autoencoder_pair.theirs("flux2")
    theirs.decoder = vae.Decoder(8, 3, ("UpDecoderBlock2D",) * 2, (64, 96), 1)
    module, variables = autoencoder_pair.ours("flux2", theirs.state_dict())
    latent = np.random.default_rng(0).normal(size=(1, 4, 4, 8)).astype(np.float32)
    parity.assert_close("image", _run(module, variables, latent, "decode"),
                        _nhwc(theirs.decode(_nchw(latent)).sample))

  def test_scale_of_stable_diffusion(self):
    latent = np.ones((1, 2, 2, 4), np.float32)
    module = autoencoder.Autoencoder(autoencoder.AutoencoderConfig())
    normal = module.apply({}, latent, method="normalise")
    np.testing.assert_allclose(normal, 0.18215)
    np.testing.assert_allclose(module.apply({}, normal, method="denormalise"), latent)


if __name__ == "__main__":
  absltest.main()
