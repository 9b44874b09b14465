"""Our autoencoders against diffusers', through files and the conversion."""

import functools
import pathlib
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.torch
import torch
from absl.testing import absltest, parameterized
from diffusers import AutoencoderKL, AutoencoderKLFlux2
from diffusers.models.autoencoders import vae

from ntm.conversion import converter, families
from ntm.conversion.source_files import open_source
from ntm.published.autoencoders import mapping_kl
from ntm.published.autoencoders import model as autoencoder
from tests.helpers import parity

_SMALL = dict(block_out_channels=(32, 64), layers_per_block=1)


def _theirs(cls, levels, seed=0, **kwargs):
  """A small random model of diffusers, no tensor of it trivial."""
  torch.manual_seed(seed)
  model = cls(down_block_types=("DownEncoderBlock2D",) * levels,
              up_block_types=("UpDecoderBlock2D",) * levels, **kwargs).eval()
  for name, tensor in model.state_dict().items():
    if "running_var" in name:
      tensor.copy_(0.2 + torch.rand_like(tensor))
    elif "norm" in name or "bias" in name or "running_mean" in name:
      tensor.add_(0.3 * torch.randn_like(tensor))
    elif "num_batches" in name:
      tensor.fill_(7)
  return model


def _ours(state, family):
  """The same weights, converted: (module, variables)."""
  directory = pathlib.Path(tempfile.mkdtemp())
  safetensors.torch.save_file(state, directory / "model.safetensors")
  converter.convert(families.get(family), directory, directory / "ours")
  name, architecture, params = converter.load(directory / "ours")
  assert name == family
  return autoencoder.Autoencoder(mapping_kl.config(architecture)), {"params": params}


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


MODELS = {
    "kl": (AutoencoderKL, "autoencoder_kl", dict(latent_channels=4, **_SMALL)),
    "kl_plain": (AutoencoderKL, "autoencoder_kl", dict(
        latent_channels=6, block_out_channels=(32, 64, 32), layers_per_block=2,
        use_quant_conv=False, use_post_quant_conv=False, mid_block_add_attention=False)),
    "flux2": (AutoencoderKLFlux2, "autoencoder_flux2", dict(latent_channels=8, **_SMALL)),
}


class AutoencodersTest(parameterized.TestCase):

  @parameterized.named_parameters((name, name) for name in MODELS)
  def test_same_latents_images_and_gradients(self, which):
    cls, family, kwargs = MODELS[which]
    theirs = _theirs(cls, len(kwargs["block_out_channels"]), **kwargs)
    module, variables = _ours(theirs.state_dict(), family)
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
    cls, family, kwargs = MODELS["flux2"]
    theirs = _theirs(cls, 2, **kwargs)
    module, variables = _ours(theirs.state_dict(), family)
    latent = np.random.default_rng(0).normal(size=(2, 8, 12, 8)).astype(np.float32)
    # Space to depth of PyTorch: channel, row, column. The module normalises as at evaluation.
    expected = theirs.bn(torch.nn.functional.pixel_unshuffle(_nchw(latent), 2))
    normal = _run(module, variables, latent, "normalise")
    parity.assert_close("normalised latent", normal, _nhwc(expected), 1e-6)
    parity.assert_close("latent", _run(module, variables, normal, "denormalise"), latent, 1e-6)
    decoded = _run(module, variables, normal, "denormalise_and_decode")
    parity.assert_close("image", decoded, _nhwc(theirs.decode(_nchw(latent)).sample))

  def test_flux2_decoder_of_its_own_widths(self):
    cls, _, kwargs = MODELS["flux2"]
    theirs = _theirs(cls, 2, **kwargs)
    theirs.decoder = vae.Decoder(8, 3, ("UpDecoderBlock2D",) * 2, (64, 96), 1)
    module, variables = _ours(theirs.state_dict(), "autoencoder_flux2")
    latent = np.random.default_rng(0).normal(size=(1, 4, 4, 8)).astype(np.float32)
    parity.assert_close("image", _run(module, variables, latent, "decode"),
                        _nhwc(theirs.decode(_nchw(latent)).sample))

  def test_scale_of_stable_diffusion(self):
    latent = np.ones((1, 2, 2, 4), np.float32)
    module = autoencoder.Autoencoder(autoencoder.AutoencoderConfig())
    normal = module.apply({}, latent, method="normalise")
    np.testing.assert_allclose(normal, 0.18215)
    np.testing.assert_allclose(module.apply({}, normal, method="denormalise"), latent)

  def test_files_with_old_names_of_attention(self):
    cls, family, kwargs = MODELS["kl"]
    state = _theirs(cls, 2, **kwargs).state_dict()
    renamed = {}
    for name, tensor in state.items():
      if ".attentions." in name:
        for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"),
                         ("to_out.0", "proj_attn")):
          name = name.replace(f".{new}.", f".{old}.")
      renamed[name] = tensor
    self.assertNotEqual(set(renamed), set(state))
    for a, b in zip(*map(jax.tree.leaves, (_ours(state, family)[1], _ours(renamed, family)[1]))):
      np.testing.assert_array_equal(a, b)

  @parameterized.named_parameters((name, name) for name in MODELS)
  def test_there_and_back(self, which):
    cls, family, kwargs = MODELS[which]
    directory = pathlib.Path(tempfile.mkdtemp())
    source, back = directory / "model.safetensors", directory / "back.safetensors"
    safetensors.torch.save_file(
        _theirs(cls, len(kwargs["block_out_channels"]), **kwargs).state_dict(), source)
    converter.convert(families.get(family), source, directory / "ours")
    converter.export(directory / "ours", back)
    self.assertEqual(source.read_bytes(), back.read_bytes())

  def test_each_family_knows_its_own(self):
    for cls, family, kwargs in MODELS.values():
      directory = pathlib.Path(tempfile.mkdtemp())
      model = _theirs(cls, len(kwargs["block_out_channels"]), **kwargs)
      safetensors.torch.save_file(model.state_dict(), directory / "model.safetensors")
      self.assertEqual(families.matching(open_source(directory).shapes), [family])

  def test_published_shapes(self):
    """The full-size models are recognised as what their configs say."""
    with torch.device("meta"):
      flux2 = AutoencoderKLFlux2()
    shapes = {name: tuple(t.shape) for name, t in flux2.state_dict().items()}
    architecture = families.get("autoencoder_flux2").recognise(shapes)
    self.assertEqual(mapping_kl.config(architecture), autoencoder.AutoencoderConfig(
        latent_channels=32, patch=2))
    with torch.device("meta"):
      kl = AutoencoderKL(
          block_out_channels=(128, 256, 512, 512), layers_per_block=2,
          down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4)
    shapes = {name: tuple(t.shape) for name, t in kl.state_dict().items()}
    architecture = families.get("autoencoder_kl").recognise(shapes)
    self.assertEqual(mapping_kl.config(architecture), autoencoder.AutoencoderConfig())


if __name__ == "__main__":
  absltest.main()
