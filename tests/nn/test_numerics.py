import flax.linen as nn
import jax
import jax.numpy as jnp
from absl.testing import absltest, parameterized
from jax.extend.core import jaxprs_in_params

from ntm.models import build
from ntm.nn.numerics import Numerics, product_precision
from ntm.published.autoencoders import model as autoencoders
from ntm.sampling import generate, ode
from tests.helpers import options, tiny


def products(function, *args):
  """(type of the factors, precision) of every matrix product and convolution traced."""
  def of(jaxpr):
    for equation in jaxpr.eqns:
      if equation.primitive.name in ("dot_general", "conv_general_dilated"):
        yield equation.invars[0].aval.dtype, equation.params["precision"]
      for inner in jaxprs_in_params(equation.params):
        yield from of(inner)

  return list(of(jax.make_jaxpr(function)(*args).jaxpr))


def programs(config):
  """The gradient of the loss and sampling of a config, with their arguments."""
  what, rng = options.task(config), jax.random.key(0)
  params = tiny.fill(nn.unbox(jax.eval_shape(what.init, rng)))
  batch = options.batch(config, 2)
  yield lambda p: jax.grad(lambda p: what.loss(rng, p, None, batch, 0)[0])(p), params
  cond = tiny.condition(config, 2)
  if config.model.kind == "flow_matching":
    draw = ode.make_generator(build.velocity(config), build.patches(config.model), config.process)
    yield lambda p: draw(rng, p, cond, 2, 2, "heun"), params
  else:
    draw = generate.make_generator(build.ntm(config), build.patches(config.model), config.process,
                                   "score")
    yield lambda p: draw(rng, p, cond, 2, config.process.num_steps[0]), params


class NumericsTest(parameterized.TestCase):

  @parameterized.parameters(
      ("model__transporter__kind", "autoregressive"), ("model__transporter__kind", "coupling"),
      ("model__predictor__context", "history"), ("model__kind", "flow_matching"),
      ("model__backbone__kind", "flux2"))
  def test_no_product_of_float32_is_left_to_the_accelerator_to_round(self, key, value):
    config = tiny.config(**options.changes(key, value))
    found = [product for function, *args in programs(config)
             for product in products(function, *args)]
    self.assertNotEmpty(found)
    self.assertEqual({dtype.name for dtype, _ in found}, {"float32"})
    self.assertEqual({precision for _, precision in found}, {(jax.lax.Precision.HIGHEST,) * 2})

  def test_nor_one_of_the_autoencoders(self):
    config = autoencoders.AutoencoderConfig(
        image_channels=3, latent_channels=4, encoder_widths=(8, 8), decoder_widths=(8, 8),
        num_blocks=1, num_groups=4)
    model, image = autoencoders.Autoencoder(config), jnp.zeros((1, 8, 8, 3))
    params = tiny.random_params(lambda rng: model.init(rng, image))
    found = products(lambda p: model.apply({"params": p}, image), params)
    self.assertNotEmpty(found)
    self.assertEqual({p for _, p in found}, {(jax.lax.Precision.HIGHEST,) * 2})

  @parameterized.parameters(("bfloat16", None), ("float32", "highest"), ("float64", "highest"))
  def test_precision_follows_the_type(self, dtype, expected):
    self.assertEqual(product_precision(dtype), expected)
    self.assertEqual(Numerics(jnp.dtype(dtype)).products["precision"], expected)


if __name__ == "__main__":
  absltest.main()
