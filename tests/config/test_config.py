"""From dictionaries to sections: keys and types."""

import dataclasses
import json
import pathlib

from absl.testing import absltest, parameterized

from ntm import config as config_lib

_CONFIGS = sorted((pathlib.Path(__file__).parents[2] / "configs").glob("*.py"))


class ConfigTest(parameterized.TestCase):

  def test_the_default_round_trips_through_json(self):
    config = config_lib.from_dict(config_lib.default())
    self.assertEqual(config, config_lib.Config())
    text = json.dumps(config_lib.to_dict(config))
    self.assertEqual(config_lib.from_dict(json.loads(text)), config)

  def test_the_hash_is_that_of_all_values(self):
    config = config_lib.from_dict({"train": {"seed": 3}})
    copied = config_lib.from_dict(json.loads(json.dumps(config_lib.to_dict(config))))
    self.assertEqual(config_lib.sha256(copied), config_lib.sha256(config))
    self.assertNotEqual(config_lib.sha256(config_lib.Config()), config_lib.sha256(config))

  def test_a_typo_in_a_config_file_is_an_error(self):
    with self.assertRaisesRegex(AttributeError, "batch_size"):
      config_lib.default().train.batchsize = 3

  @parameterized.parameters(
      ({"train": {"batchsize": 3}}, r"config.train.batchsize .* config.train.batch_size"),
      ({"modle": {}}, r"config.modle .* config.model"),
      ({"train": {"batch_size": "64"}}, "batch_size is '64'; expected int"),
      ({"train": {"batch_size": True}}, "batch_size is True; expected int"),
      ({"train": 3}, "config.train is 3"),
      ({"model": {"image_shape": (8.0, 8, 1)}}, "tuple of integers"),
      ({"model": {"transporter": {"features": -1}}}, "features is -1; expected 0 .none. or more"),
      ({"model": {"transporter": {"features": 8, "num_blocks": 0}}},
       "features is 8; expected 0 without model.transporter.num_blocks of 1 or more"),
      ({"model": {"dtype": "fp16"}}, "dtype is 'fp16'; expected one of float32"),
      ({"model": {"remat": "some"}}, "remat is 'some'"),
      ({"model": {"predictor": {"context": "all"}}}, "context is 'all'"),
      ({"process": {"schedule": "cosine"}}, "schedule is 'cosine'"),
      ({"optimizer": {"peak_learning_rate": float("nan")}}, "expected a finite number"),
      ({"data": {"source": "mnist"}}, "source is 'mnist'"),
      ({"train": {"seed": 2**31}}, "seed is 2147483648; .* 32 bits"),
      ({"model": {"inverse": {"max_iterations": 2**31}}}, "max_iterations is .* 32 bits"),
      ({"process": {"num_steps": (2**31,)}}, "num_steps is .* 32 bits"),
      ({"model": {"dtype": "float64"}}, "dtype is 'float64'; expected one of float32, bfloat16"),
      ({"model": {"transporter": {"log_scale_bound": 1e300}}}, "log_scale_bound .* float32"),
      ({"model": {"transporter": {"log_scale_bound": 1e-300}}}, "log_scale_bound .* float32"),
      ({"optimizer": {"max_grad_norm": 1e-300}}, "max_grad_norm is 1e-300; .* float32"))
  def test_mistakes_are_named(self, values, message):
    with self.assertRaisesRegex(ValueError, message):
      config_lib.from_dict(values)

  @parameterized.parameters(*((path,) for path in _CONFIGS))
  def test_every_config_file_is_valid(self, path):
    config_lib.from_dict(config_lib.load_sibling(__file__, path))

  @parameterized.parameters("t2i_256", "flux2_klein_512")
  def test_features_prepared_ahead_change_the_data_alone(self, name):
    within, ahead = (config_lib.from_dict(config_lib.load_sibling(
        __file__, _CONFIGS[0].with_name(f"{name}{end}.py"))) for end in ("", "_arrays"))
    self.assertEqual((within.data.source, ahead.data.source), ("shards", "arrays"))
    self.assertTrue(within.autoencoder.path and within.text.encoder and within.text.tokenizer)
    self.assertEqual((ahead.autoencoder, ahead.text),
                     (config_lib.AutoencoderConfig(), config_lib.TextConfig()))
    # Also the channels of the latents, where the autoencoder is another.
    model = dataclasses.replace(ahead.model, image_shape=within.model.image_shape)
    self.assertEqual(dataclasses.replace(ahead, data=within.data, text=within.text, model=model,
                                         autoencoder=within.autoencoder), within)


if __name__ == "__main__":
  absltest.main()
