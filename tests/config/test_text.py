"""Settings of texts that do not fit the model are named."""

from absl.testing import absltest, parameterized

from ntm import config as config_lib

_BACKBONE = {"text_tokens": 16, "vocab_size": 64}


def _encoder(states=(1, 2), lengths=(), template="plain", **backbone):
  return {"text": {"tokenizer": "a", "encoder": "b", "hidden_states": states, "lengths": lengths,
                   "template": template},
          "model": {"num_classes": 0,
                    "backbone": {"text_tokens": 16, "text_width": 64} | backbone}}


class TextConfigTest(parameterized.TestCase):

  @parameterized.parameters(
      ({"text": {"template": "klein"}}, "text.template is 'klein'; expected 'plain' without"),
      ({"text": {"tokenizer": "scenes"}}, "text.tokenizer is 'scenes'; expected '' unless"),
      ({"text": {"tokenizer": "scenes", "template": "klein"},
        "model": {"num_classes": 0, "backbone": _BACKBONE}}, "template is 'klein'; .*'plain'"),
      ({"model": {"num_classes": 0, "backbone": _BACKBONE}}, "vocab_size is 64; expected 0"),
      ({"text": {"encoder": "somewhere"}}, "text.encoder is 'somewhere'; expected '' without"),
      ({"text": {"hidden_states": (1,)}}, "text.hidden_states is .1,.; expected .*without a text"),
      ({"text": {"tokenizer": "scenes", "encoder": "somewhere"}}, "expected the tokenizer of the"),
      (_encoder(vocab_size=64, text_width=0), "vocab_size is 64; expected 0 with a text.encoder"),
      ({"text": {"lengths": (8, 16)}}, "text.lengths is .8, 16.; expected .*without a text.token"),
      (_encoder(lengths=(8, 12)), "text.lengths is .8, 12.; expected ascending .* = 16"),
      (_encoder(lengths=(0, 16)), "text.lengths is .0, 16.; expected ascending .* = 16"),
      (_encoder(lengths=(8, 8, 16)), "text.lengths is .8, 8, 16.; expected ascending"),
      (_encoder(lengths=(8, 16), template="klein"), "'plain': the others attend to padding"),
      (_encoder(states=()), "text.hidden_states is .*; expected numbers of hidden states"),
      (_encoder(states=(-1,)), "text.hidden_states is .*; expected numbers of hidden states"),
      (_encoder(text_tokens=0, text_width=0), "text_tokens is 0; expected the tokens of"),
      ({"model": {"backbone": {"text_layers": 3}}}, "text_layers is 3; expected 2 without"))
  def test_settings_that_do_not_fit_are_named(self, values, message):
    with self.assertRaisesRegex(ValueError, message):
      config_lib.from_dict(values)

  def test_lengths_are_for_models_that_attend_to_no_padding(self):
    config_lib.from_dict(_encoder(lengths=(8, 16)))
    values = _encoder(lengths=(8, 16), kind="flux2", double_layers=1)
    values["model"] |= {"predictor": {"output": "velocity", "reads_noise": True, "num_heads": 4,
                                      "num_kv_heads": 4, "width": 64}}
    values["process"] = {"t_min_low": 0.01}
    with self.assertRaisesRegex(ValueError, "lengths is .* unless model.backbone.kind is 'dit'"):
      config_lib.from_dict(values)

  def test_an_encoder_takes_the_place_of_a_vocabulary(self):
    self.assertEqual(config_lib.from_dict(_encoder()).text.hidden_states, (1, 2))


if __name__ == "__main__":
  absltest.main()
