import json
import pathlib

from absl.testing import absltest, parameterized

from ntm import config as config_lib
from tests.helpers import tiny

_CONFIGS = sorted((pathlib.Path(__file__).parents[2] / "configs").glob("*.py"))


# A section "model" alone, so that the rows below stay short.
_SIT = {"kind": "flow_matching", "backbone": {"kind": "sit"}}
_FLUX2 = {"kind": "flow_matching", "num_classes": 0, "backbone": {
    "kind": "flux2", "double_layers": 1, "text_tokens": 3, "text_width": 5}}


def _plane(**data):
  """A config of points of the plane."""
  return {"data": {"source": "mixture"} | data,
          "model": {"image_shape": (2, 1), "patch_shape": (1,), "num_classes": 0}}


class ConfigTest(parameterized.TestCase):

  def test_the_default_round_trips_through_json(self):
    config = config_lib.from_dict(config_lib.default())
    self.assertEqual(config, config_lib.Config())
    text = json.dumps(config_lib.to_dict(config))
    self.assertEqual(config_lib.from_dict(json.loads(text)), config)

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
      ({"model": {"patch_shape": (3, 2)}}, "patch_shape is .3, 2.; .* dividing it"),
      ({"model": {"patch_shape": (2,)}}, "one entry for every spatial axis"),
      ({"model": {"predictor": {"num_heads": 3}}}, "predictor.num_heads is 3; .* width 128"),
      ({"model": {"transporter": {"num_kv_heads": 3}}}, "num_kv_heads is 3; .* num_heads 4"),
      ({"model": {"transporter": {"features": -1}}}, "features is -1; expected 0 .none. or more"),
      ({"model": {"transporter": {"features": 8, "num_blocks": 0}}},
       "features is 8; expected 0 with model.transporter.num_blocks = 0"),
      ({"model": {"dtype": "fp16"}}, "dtype is 'fp16'; expected one of float32"),
      ({"model": {"remat": "some"}}, "remat is 'some'"),
      ({"model": {"predictor": {"context": "all"}}}, "context is 'all'"),
      ({"process": {"num_steps": (0,)}}, "num_steps is .0,.; .* at least 1"),
      ({"process": {"num_steps": (4, 4)}}, "different numbers of steps"),
      ({"process": {"t_min_low": 0.1}}, "t_min_low 0.1 <= t_min_high"),
      ({"process": {"t_min": 0.0}}, "t_min is 0.0; .* between 0 and 1"),
      ({"process": {"schedule": "cosine"}}, "schedule is 'cosine'"),
      ({"train": {"grad_accumulation_steps": 3}},
       "grad_accumulation_steps is 3; .* divisor of batch_size"),
      ({"train": {"objective": "pair_wise"}, "model": {"predictor": {"context": "history"}}},
       "objective is 'pair_wise'"),
      ({"optimizer": {"warmup_steps": 10}, "train": {"steps": 10}}, "warmup_steps is 10"),
      ({"optimizer": {"peak_learning_rate": float("nan")}}, "expected a finite number"),
      ({"optimizer": {"ema_decay": 1.0}}, "ema_decay is 1.0"),
      ({"mesh": {"data": -1, "fsdp": -1}}, "at most one -1"),
      ({"data": {"source": "mnist"}}, "source is 'mnist'"),
      ({"data": {"source": "folder", "augment": True}}, "augment is True; .* 'digits'"),
      ({"data": {"noise": 0.1}}, "noise is 0.1; .* only data.source 'mixture' reads it"),
      ({"data": {"source": "mixture"}}, r"image_shape is \(8, 8, 1\); expected \(2, 1\), a point"),
      (_plane(noise=0.0), "noise is 0.0; expected a positive"),
      (_plane(mixture="ring9"), "mixture is 'ring9'; expected one of grid25, ring8"),
      (_plane(mixture="checkerboard", noise=0.1), "noise is 0.1; .* a data.mixture of Gaussians"),
      (_plane(num_templates=4), "num_templates is 4; .* only data.mixture 'templates'"),
      (_plane(mixture="templates"), r"image_shape is \(2, 1\); expected \(height, width, 1\)"),
      (_plane(mixture="templates", num_templates=0), "num_templates is 0; expected 1 to 1000"),
      ({"train": {"seed": 2**31}}, "seed is 2147483648; .* 32 bits"),
      ({"model": {"inverse": {"max_iterations": 2**31}}}, "max_iterations is .* 32 bits"),
      ({"process": {"num_steps": (2**31,)}}, "num_steps is .* 32 bits"),
      ({"model": {"dtype": "float64"}}, "dtype is 'float64'; expected one of float32, bfloat16"),
      ({"model": {"transporter": {"log_scale_bound": 1e300}}}, "log_scale_bound .* float32"),
      ({"model": {"transporter": {"log_scale_bound": 1e-300}}}, "log_scale_bound .* float32"),
      ({"model": {"transporter": {"log_scale_bound": 100.0}}}, "log_scale_bound .* to 20"),
      ({"optimizer": {"max_grad_norm": 1e-300}}, "max_grad_norm is 1e-300; .* float32"),
      ({"optimizer": {"max_grad_norm": 1e-9}}, "max_grad_norm is 1e-09; .* at least 1e-6"),
      ({"optimizer": {"weight_decay": 1e5}},
       "weight_decay is 100000.0; .* below 1 / peak_learning_rate"),
      ({"train": {"profile_at": 11, "steps": 10}, "optimizer": {"warmup_steps": 0}},
       "profile_at is 11; .* a step of the run's 10"),
      ({"train": {"label_dropout": 1.0}}, "label_dropout is 1.0; .* below 1"),
      ({"process": {"t_min": 0.3}}, "t_min is 0.3; .* t_min_low 0.0 to t_min_high 0.05"),
      ({"model": {"backbone": {"double_layers": -1}}}, "double_layers is -1; expected 0"),
      ({"model": {"kind": "flow_matching", "predictor": {"context": "history"}}},
       "context is 'history'; expected 'markov': only model.kind 'ntm' reads it"),
      ({"model": {"kind": "flow_matching"}, "train": {"objective": "pair_wise"}},
       "objective is 'pair_wise'; expected 'end_to_end': only model.kind 'ntm'"),
      ({"train": {"time_sampling": "uniform"}}, "time_sampling is 'uniform'; .* 'flow_matching'"),
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

  @parameterized.parameters(*((path,) for path in _CONFIGS))
  def test_every_config_file_is_valid(self, path):
    config_lib.from_dict(config_lib.load_sibling(__file__, path))


if __name__ == "__main__":
  absltest.main()
