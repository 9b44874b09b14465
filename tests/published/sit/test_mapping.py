import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import torch
from absl.testing import absltest, parameterized

from ntm.nn import patchify
from ntm.published.sit import mapping as conversion
from ntm.published.sit import model as sit
from tests.helpers import in_memory, parity, torch_sit

# Rows, columns and channels all differ, so that no two can be exchanged unnoticed.
_TINY = dict(layers=3, width=32, num_heads=2, mlp_ratio=3, grid_shape=[2, 5], patch_size=2,
             channels=3, num_classes=7, learn_sigma=True)


def _random_model(architecture):
  torch.manual_seed(0)
  model = torch_sit.SiT(**architecture)
  with torch.no_grad():
    for parameter in model.parameters():
      parameter.normal_(0, 0.2)
  return model


def _meta_model(config):
  with torch.device("meta"):
    return torch_sit.SiT(**dataclasses.asdict(config))


def _count(shapes):
  return sum(math.prod(shape) for shape in shapes.values())


class SiTConversionTest(parameterized.TestCase):

  @parameterized.product(learn_sigma=(True, False), patch_size=(2, 4))
  def test_equals_pytorch(self, learn_sigma, patch_size):
    architecture = {**_TINY, "learn_sigma": learn_sigma, "patch_size": patch_size}
    model = _random_model(architecture)
    rows, columns = (n * patch_size for n in architecture["grid_shape"])
    image = torch.randn(4, 3, rows, columns, requires_grad=True)
    weight = torch.randn(4, 3, rows, columns)
    t, label = torch.tensor([0.0, 0.31, 0.9, 1.0]), torch.tensor([0, 3, 6, 7])
    out, hidden = model(image, 1 - t, label)
    velocity = -out[:, :3]
    (grad,) = torch.autograd.grad((velocity * weight).sum(), image)

    ours = sit.SiT(conversion.config(architecture))
    params = in_memory.read(conversion.FAMILY, architecture, in_memory.state_of(model))
    tokens = lambda a: patchify.patchify(
        jnp.moveaxis(jnp.asarray(a.detach().numpy()), 1, -1), (patch_size, patch_size))

    @jax.jit
    def run(params, x):
      (v, h), vjp = jax.vjp(
          lambda x: ours.apply({"params": params}, x, jnp.asarray(t.numpy()),
                               jnp.asarray(label.numpy())), x)
      return v, h, vjp((tokens(weight), jnp.zeros_like(h)))[0]

    for name, a, b in zip(("velocity", "hidden", "gradient"), run(params, tokens(image)),
                          (tokens(velocity), hidden.detach(), tokens(grad))):
      parity.assert_close(f"SiT {name}", a, b)

  @parameterized.parameters(True, False)
  def test_writes_back_every_bit(self, learn_sigma):
    architecture = {**_TINY, "learn_sigma": learn_sigma}
    state = in_memory.state_of(_random_model(architecture))
    params = in_memory.read(conversion.FAMILY, architecture, state)
    written = in_memory.write(conversion.FAMILY, architecture, params)
    self.assertEqual(set(written), set(state))
    for name, array in state.items():
      np.testing.assert_array_equal(written[name], array, err_msg=name)
      self.assertEqual(written[name].dtype, array.dtype)

  @parameterized.named_parameters(("s", sit.S), ("b", sit.B), ("l", sit.L), ("xl", sit.XL))
  def test_published_sizes(self, config):
    for size in (config, dataclasses.replace(config, patch_size=4, grid_shape=(8, 8))):
      state = _meta_model(size).state_dict()
      architecture = conversion.recognise({name: tuple(a.shape) for name, a in state.items()})
      self.assertEqual(conversion.config(architecture), size)
      in_memory.check(conversion.FAMILY, architecture, state)
      self.assertEqual(_count(conversion.target_shapes(architecture)),
                       sum(a.numel() for a in state.values()))

  def test_xl_has_the_published_number_of_parameters(self):
    shapes = dict(conversion.target_shapes(dataclasses.asdict(sit.XL)))
    self.assertEqual(_count(shapes), 675_129_632)
    del shapes["position"]
    trained = sum(p.numel() for p in _meta_model(sit.XL).parameters() if p.requires_grad)
    self.assertEqual(_count(shapes), trained)

  def test_the_table_of_positions_is_that_of_the_checkpoint(self):
    ours = sit.position_table((3, 5), 24)
    theirs = torch_sit.sincos(3, 5, 24)[0].numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-7)

  def test_does_not_guess(self):
    state = {name: tuple(a.shape) for name, a in _meta_model(sit.S).state_dict().items()}
    self.assertIsNone(conversion.recognise({"weight": (3, 4)}))
    self.assertIsNone(conversion.recognise({k: v for k, v in state.items() if k != "pos_embed"}))
    with self.assertRaisesRegex(ValueError, "heads"):
      conversion.recognise({**state, "x_embedder.proj.weight": (400, 4, 2, 2)})
    with self.assertRaisesRegex(ValueError, "square"):
      conversion.recognise({**state, "pos_embed": (1, 250, 384)})


if __name__ == "__main__":
  absltest.main()
