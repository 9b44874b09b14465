"""Sizes of a model that do not fit together are named."""

from absl.testing import absltest, parameterized

from ntm import config as config_lib
from tests.helpers import tiny


class ModelTest(parameterized.TestCase):

  @parameterized.parameters(
      ({"model": {"patch_shape": (3, 2)}}, "patch_shape is .3, 2.; .* dividing it"),
      ({"model": {"patch_shape": (2,)}}, "one entry for every spatial axis"),
      ({"model": {"predictor": {"num_heads": 3}}}, "predictor.num_heads is 3; .* width 128"),
      ({"model": {"transporter": {"num_kv_heads": 3}}}, "num_kv_heads is 3; .* num_heads 4"),
      ({"model": {"transporter": {"log_scale_bound": 100.0}}}, "log_scale_bound .* to 20"),
      ({"model": {"transporter": {"kind": "coupling", "autoregressive_channels": True}}},
       "autoregressive_channels is True; .* without a model.transporter.kind 'autoregressive'"),
      ({"model": {"transporter": {"num_blocks": 0, "autoregressive_channels": True}}},
       "autoregressive_channels is True; .* without model.transporter.num_blocks of 1 or more, wh"),
      ({"model": {"transporter": {
          "num_blocks": 0, "features": 4, "autoregressive_channels": True}}},
       r"\(--config.model.transporter.features=0 --config\S+.autoregressive_channels=False\)\.$"),
      ({"model": {"transporter": {"spline_range": 2.0}}},
       r"spline_range is 2.0; .* \(--config.model.transporter.spline_range=4.0\)\.$"),
      ({"model": {"patch_shape": (1, 1), "transporter": {"autoregressive_channels": True}}},
       "autoregressive_channels is True; expected False for tokens of one channel"),
      ({"model": {"backbone": {"double_layers": -1}}}, "double_layers is -1; expected 0"),
      ({"model": {"kind": "flow_matching", "predictor": {"context": "history"}}},
       "context is 'history'; expected 'markov' without model.kind 'ntm', which alone"))
  def test_mistakes_are_named(self, values, message):
    with self.assertRaisesRegex(ValueError, message):
      config_lib.from_dict(values)

  def test_derived_sizes(self):
    model = tiny.config(model__image_shape=(6, 8, 3), model__patch_shape=(3, 2)).model
    self.assertEqual((model.grid_shape, model.num_tokens, model.num_channels), ((2, 4), 8, 18))


if __name__ == "__main__":
  absltest.main()
