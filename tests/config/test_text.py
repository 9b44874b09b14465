"""Settings of texts that do not fit the model are named."""

from absl.testing import absltest, parameterized

from ntm import config as config_lib

_BACKBONE = {"text_tokens": 16, "vocab_size": 64}


def _encoder(states=(1, 2), **backbone):
  return {"text": {"tokenizer": "a", "encoder": "b", "hidden_states": states},
          "model": {"num_classes": 0,
                    "backbone": {"text_tokens": 16, "text_width": 64} | backbone}}


class TextConfigTest(parameterized.TestCase):

  @parameterized.parameters(
      ({"text": {"template": "klein"}}, "text.template is 'klein'; expected 'plain': only"),
      ({"text": {"tokenizer": "scenes"}}, "text.tokenizer is 'scenes'; expected '' unless"),
      ({"text": {"tokenizer": "scenes", "template": "klein"},
        "model": {"num_classes": 0, "backbone": _BACKBONE}}, "template is 'klein'; .*'plain'"),
      ({"model": {"num_classes": 0, "backbone": _BACKBONE}}, "vocab_size is 64; expected 0"),
      ({"text": {"encoder": "somewhere"}}, "text.encoder is 'somewhere'; expected '': only"),
      ({"text": {"hidden_states": (1,)}}, "text.hidden_states is .1,.; expected .*only a text.enc"),
      ({"text": {"tokenizer": "scenes", "encoder": "somewhere"}}, "expected the tokenizer of the"),
      (_encoder(vocab_size=64, text_width=0), "vocab_size is 64; expected 0 with a text.encoder"),
      (_encoder(states=()), "text.hidden_states is .*; expected numbers of hidden states"),
      (_encoder(states=(-1,)), "text.hidden_states is .*; expected numbers of hidden states"),
      (_encoder(text_tokens=0, text_width=0), "text_tokens is 0; expected the tokens of"),
      ({"model": {"backbone": {"text_layers": 3}}}, "text_layers is 3; expected 2: only"))
  def test_settings_that_do_not_fit_are_named(self, values, message):
    with self.assertRaisesRegex(ValueError, message):
      config_lib.from_dict(values)

  def test_an_encoder_takes_the_place_of_a_vocabulary(self):
    self.assertEqual(config_lib.from_dict(_encoder()).text.hidden_states, (1, 2))


if __name__ == "__main__":
  absltest.main()
