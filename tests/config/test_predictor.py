"""Settings of the predictor and its network that do not fit the model are named."""

from absl.testing import absltest, parameterized

from ntm import config as config_lib

_SIT = {"kind": "flow_matching", "backbone": {"kind": "sit"}}
_FLUX2 = {"kind": "flow_matching", "num_classes": 0, "backbone": {
    "kind": "flux2", "double_layers": 1, "text_tokens": 3, "text_width": 5}}


class PredictorTest(parameterized.TestCase):

  @parameterized.parameters(
      ({"mean_correction": True}, "mean_correction is True; expected False unless"),
      ({"output": "velocity"}, "reads_noise is False; expected True"))
  def test_mistakes_of_a_density_are_named(self, predictor, message):
    with self.assertRaisesRegex(ValueError, message):
      config_lib.from_dict({"model": {"predictor": predictor}})

  @parameterized.parameters(
      ({"backbone": {"kind": "sit"}}, "backbone.kind is 'sit'; expected 'dit' unless"),
      ({"backbone": {"text_tokens": 3, "text_width": 5}},
       "text_tokens is 3; expected 0 with model.num_classes = 10: .* one of the two to 0"),
      ({"num_classes": 0, "predictor": {"context": "history"},
        "backbone": {"text_tokens": 3, "text_width": 5}}, "text_tokens is 3; .* 'history'"),
      ({"num_classes": 0, "backbone": {"text_tokens": 16, "text_width": 64, "vocab_size": 60}},
       "text_width is 64; expected 0 with model.backbone.vocab_size = 60: .* one of the two to 0"),
      ({"num_classes": 0, "backbone": {"vocab_size": 60}}, "text_tokens is 0; expected the tokens"),
      ({"num_classes": 0, "backbone": {"text_tokens": 16}},
       "text_tokens is 16; expected to fit model.backbone.text_width = 0: .* set vocab_size"),
      (_SIT | {"predictor": {"width": 16, "num_heads": 4, "num_kv_heads": 2}}, "num_kv_heads is 2"),
      (_SIT | {"predictor": {"width": 18, "num_heads": 3, "num_kv_heads": 3}}, "width is 18; .* 4"),
      (_SIT | {"num_classes": 0}, "num_classes is 0; .* 'sit'"),
      (_SIT | {"patch_shape": (4, 2)}, "patch_shape is .4, 2.; expected square"),
      (_FLUX2 | {"image_shape": (8, 4), "patch_shape": (2,)}, "image_shape is .8, 4.; .* 'flux2'"),
      (_FLUX2 | {"image_shape": (2, 4, 4, 1), "patch_shape": (1, 1, 1)}, "image_shape .* 'flux2'"),
      (_FLUX2 | {"predictor": {"width": 36, "num_heads": 3, "num_kv_heads": 3}},
       "width is 36; .* per head divisible by 8"))
  def test_mistakes_of_a_network_are_named(self, model, message):
    with self.assertRaisesRegex(ValueError, message):
      config_lib.from_dict({"model": model})


if __name__ == "__main__":
  absltest.main()
