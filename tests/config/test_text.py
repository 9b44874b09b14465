"""Settings of texts that do not fit the model are named."""

from absl.testing import absltest, parameterized

from ntm import config as config_lib

_BACKBONE = {"text_tokens": 16, "vocab_size": 64}


class TextConfigTest(parameterized.TestCase):

  @parameterized.parameters(
      ({"text": {"template": "klein"}}, "text.template is 'klein'; expected 'plain': only"),
      ({"text": {"tokenizer": "scenes"}}, "text.tokenizer is 'scenes'; expected '' unless"),
      ({"text": {"tokenizer": "scenes", "template": "klein"},
        "model": {"num_classes": 0, "backbone": _BACKBONE}}, "template is 'klein'; .*'plain'"),
      ({"model": {"num_classes": 0, "backbone": _BACKBONE}}, "vocab_size is 64; expected 0"),
      ({"model": {"backbone": {"text_layers": 3}}}, "text_layers is 3; expected 2: only"))
  def test_settings_that_do_not_fit_are_named(self, values, message):
    with self.assertRaisesRegex(ValueError, message):
      config_lib.from_dict(values)


if __name__ == "__main__":
  absltest.main()
