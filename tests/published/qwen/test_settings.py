from absl.testing import absltest, parameterized

from ntm.published.qwen import model as qwen
from ntm.published.qwen import settings

# The fields that are read, of files on the hub.
_QWEN3_4B = {
    "model_type": "qwen3", "attention_bias": False, "head_dim": 128, "hidden_act": "silu",
    "hidden_size": 2560, "intermediate_size": 9728, "max_window_layers": 36,
    "num_attention_heads": 32, "num_hidden_layers": 36, "num_key_value_heads": 8,
    "rms_norm_eps": 1e-06, "rope_scaling": None, "rope_theta": 1000000,
    "use_sliding_window": False, "vocab_size": 151936}
_VL_7B = {
    "model_type": "qwen2_5_vl", "hidden_act": "silu", "hidden_size": 3584,
    "intermediate_size": 18944, "max_window_layers": 28, "num_attention_heads": 28,
    "num_hidden_layers": 28, "num_key_value_heads": 4, "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0, "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
    "use_sliding_window": False, "vocab_size": 152064}


class SettingsTest(parameterized.TestCase):

  @parameterized.parameters((_QWEN3_4B, qwen.QWEN3_4B), (_VL_7B, qwen.QWEN2_5_VL_7B))
  def test_files_of_the_hub(self, values, config):
    self.assertEqual(qwen.QwenConfig(**settings.read(values, values["model_type"])), config)

  def test_text_fields_may_be_apart_and_rotary_fields_together(self):
    text = {key: value for key, value in _VL_7B.items() if key not in ("rope_theta", "model_type")}
    text["rope_parameters"] = {"rope_type": "default", "rope_theta": 2e6}
    found = settings.read({"model_type": "qwen2_5_vl", "text_config": text, "hidden_size": 1},
                          "qwen2_5_vl")
    self.assertEqual((found["width"], found["theta"]), (3584, 2e6))

  def test_windows_of_no_layer_are_accepted(self):
    values = _QWEN3_4B | {"use_sliding_window": True, "max_window_layers": 36}
    self.assertEqual(settings.read(values, "qwen3"), settings.read(_QWEN3_4B, "qwen3"))

  @parameterized.parameters(
      ({"model_type": "qwen2"}, "model_type is 'qwen2'; expected 'qwen3'"),
      ({"hidden_size": None}, "hidden_size is None; expected a positive integer"),
      ({"hidden_size": "2560"}, "hidden_size is '2560'"),
      ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
      ({"head_dim": True}, "head_dim is True"),
      ({"rms_norm_eps": -1.0}, "rms_norm_eps is -1.0; expected a positive number"),
      ({"rope_theta": None}, "rope_theta is None"),
      ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "type 'yarn', which is not"),
      ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
      ({"use_sliding_window": True, "max_window_layers": 20}, "sliding-window attention"),
      ({"use_sliding_window": True, "max_window_layers": None}, "max_window_layers is None"),
      ({"layer_types": "full"}, "layer_types is 'full'; expected a list"),
      ({"rope_scaling": "yarn"}, "rope_scaling is 'yarn'; expected an object"),
      ({"layer_types": ["full_attention", "sliding_attention"]}, "sliding-window attention"))
  def test_what_is_refused(self, changes, message):
    with self.assertRaisesRegex(ValueError, message):
      settings.read(_QWEN3_4B | changes, "qwen3")


if __name__ == "__main__":
  absltest.main()
