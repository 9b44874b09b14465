"""Sizes of a model that do not fit together are named."""

from absl.testing import absltest, parameterized

from ntm import config as config_lib
from tests.helpers import tiny

# A section "model" alone, so that the rows below stay short.
_SIT = {"kind": "flow_matching", "backbone": {"kind": "sit"}}
_FLUX2 = {"kind": "flow_matching", "num_classes": 0, "backbone": {
    "kind": "flux2", "double_layers": 1, "text_tokens": 3, "text_width": 5}}


class ModelTest(parameterized.TestCase):

  @parameterized.parameters(
      ({"model": {"patch_shape": (3, 2)}}, "patch_shape is .3, 2.; .* dividing it"),
      ({"model": {"patch_shape": (2,)}}, "one entry for every spatial axis"),
      ({"model": {"predictor": {"num_heads": 3}}}, "predictor.num_heads is 3; .* width 128"),
      ({"model": {"transporter": {"num_kv_heads": 3}}}, "num_kv_heads is 3; .* num_heads 4"),
      ({"model": {"transporter": {"log_scale_bound": 100.0}}}, "log_scale_bound .* to 20"),
      ({"model": {"transporter": {"kind": "coupling", "autoregressive_channels": True}}},
       "autoregressive_channels is True; expected False: only an autoregressive block reads it"),
      ({"model": {"transporter": {"num_blocks": 0, "autoregressive_channels": True}}},
       "autoregressive_channels is True; expected False: only an autoregressive block"),
      ({"model": {"patch_shape": (1, 1), "transporter": {"autoregressive_channels": True}}},
       "autoregressive_channels is True; expected False for tokens of one channel"),
      ({"model": {"backbone": {"double_layers": -1}}}, "double_layers is -1; expected 0"),
      ({"model": {"kind": "flow_matching", "predictor": {"context": "history"}}},
       "context is 'history'; expected 'markov': only model.kind 'ntm' reads it"),
      (_SIT | {"predictor": {"width": 16, "num_heads": 4, "num_kv_heads": 2}}, "num_kv_heads is 2"),
      (_SIT | {"predictor": {"width": 18, "num_heads": 3, "num_kv_heads": 3}}, "width is 18; .* 4"),
      (_SIT | {"num_classes": 0}, "num_classes is 0; .* 'sit'"),
      (_FLUX2 | {"image_shape": (8, 4), "patch_shape": (2,)}, "image_shape is .8, 4.; .* 'flux2'"),
      (_FLUX2 | {"image_shape": (2, 4, 4, 1), "patch_shape": (1, 1, 1)}, "image_shape .* 'flux2'"),
      (_FLUX2 | {"predictor": {"width": 36, "num_heads": 3, "num_kv_heads": 3}},
       "width is 36; .* per head divisible by 8"))
  def test_mistakes_are_named(self, values, message):
    values = {"model": values} if "kind" in values else values
    with self.assertRaisesRegex(ValueError, message):
      config_lib.from_dict(values)

  def test_derived_sizes(self):
    model = tiny.config(model__image_shape=(6, 8, 3), model__patch_shape=(3, 2)).model
    self.assertEqual((model.grid_shape, model.num_tokens, model.num_channels), ((2, 4), 8, 18))


if __name__ == "__main__":
  absltest.main()
