"""From a config to modules: the parts, their types and what they share."""

from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
from absl.testing import absltest, parameterized

from ntm.flows.autoregressive import AutoregressiveBlock
from ntm.flows.bijector import Alternating, Identity
from ntm.flows.coupling import CouplingChain
from ntm.losses import task
from ntm.models import build
from ntm.nn import kernels
from tests.helpers import options, tiny


def _shapes(config):
  return nn.unbox(jax.eval_shape(task.density(config).init, jax.random.key(0)))


class BuildTest(parameterized.TestCase):

  @parameterized.parameters(
      (dict(model__transporter__num_blocks=0), Identity),
      (dict(model__transporter__kind="coupling"), CouplingChain),
      (dict(), Alternating))
  def test_kinds_of_transporters(self, changes, kind):
    self.assertIsInstance(build.transporter(tiny.config(**changes).model), kind)

  def test_blocks_are_as_many_and_bounded_as_configured(self):
    model = tiny.config(model__transporter__num_blocks=3,
                        model__transporter__log_scale_bound=0.5).model
    blocks = build.transporter(model).block
    self.assertLen(blocks, 3)
    for block in blocks:
      self.assertIsInstance(block, AutoregressiveBlock)
      self.assertEqual((block.maps.log_scale_bound, block.num_classes, block.inverse),
                       (0.5, 0, model.inverse))

  @parameterized.product(
      kind=("dit", "sit", "flux2"), transporter=("autoregressive", "coupling"),
      when=("always", "never"))
  def test_every_network_is_told_when_to_use_a_kernel(self, kind, transporter, when):
    config = options.tiny_config("model__backbone__kind", kind, model__attention_kernel=when,
                                 model__transporter__kind=transporter,
                                 model__transporter__num_blocks=2)
    with mock.patch.object(kernels, "attend", return_value=None) as attend:
      _shapes(config)
    told = [{**dict(zip(("when",), call.args[4:])), **call.kwargs}.get("when")
            for call in attend.call_args_list]
    self.assertGreater(len(told), 1)
    self.assertEqual(set(told), {when})

  def test_odd_blocks_reverse_the_channels(self):
    for in_order, expected in ((False, ["independent"] * 3),
                               (True, ["ascending", "descending", "ascending"])):
      model = tiny.config(model__transporter__num_blocks=3,
                          model__transporter__autoregressive_channels=in_order).model
      self.assertEqual([block.channels for block in build.transporter(model).block], expected)

  @parameterized.parameters(("float32", jnp.float32), ("bfloat16", jnp.bfloat16),
                            ("float64", jnp.float64))
  def test_parameters_are_float32_or_better(self, name, dtype):
    model = tiny.config().model
    object.__setattr__(model, "dtype", name)  # A config takes float64 from Python alone.
    numerics = build.numerics(model)
    self.assertEqual((numerics.dtype, numerics.param_dtype),
                     (dtype, jnp.promote_types(dtype, jnp.float32)))

  def test_parameters_of_a_bfloat16_model_are_those_of_the_float32_one(self):
    self.assertEqual(_shapes(tiny.config(model__dtype="bfloat16")), _shapes(tiny.config()))

  def test_a_velocity_network_is_the_start_of_a_velocity_predictor(self):
    ntm = options.tiny_config("model__predictor__output", "velocity")
    velocity = tiny.config(model__kind="flow_matching")
    inside = _shapes(ntm)["predictor"]["network"]
    alone = nn.unbox(jax.eval_shape(task.velocity_init(velocity), jax.random.key(0)))["network"]
    for path, leaf in jax.tree_util.tree_leaves_with_path(alone):
      found = inside
      for key in path:
        found = found[key.key]
      self.assertEqual(found.shape, leaf.shape, jax.tree_util.keystr(path))

  def test_patches_are_those_of_the_model(self):
    model = tiny.config().model
    self.assertEqual(build.patches(model).token_shape, (model.num_tokens, model.num_channels))


if __name__ == "__main__":
  absltest.main()
