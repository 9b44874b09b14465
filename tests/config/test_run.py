"""Settings of a run that make no sense are named."""

from absl.testing import absltest, parameterized

from ntm import config as config_lib


class RunTest(parameterized.TestCase):

  @parameterized.parameters(
      ({"process": {"num_steps": (0,)}}, "num_steps is .0,.; .* at least 1"),
      ({"process": {"num_steps": (4, 4)}}, "different numbers of steps"),
      ({"process": {"t_min_low": 0.1}}, "t_min_low 0.1 <= t_min_high"),
      ({"process": {"t_min": 0.0}}, "t_min is 0.0; .* between 0 and 1"),
      ({"train": {"grad_accumulation_steps": 3}},
       "grad_accumulation_steps is 3; .* divisor of batch_size"),
      ({"train": {"objective": "pair_wise"}, "model": {"predictor": {"context": "history"}}},
       "objective is 'pair_wise'"),
      ({"optimizer": {"warmup_steps": 10}, "train": {"steps": 10}}, "warmup_steps is 10"),
      ({"optimizer": {"ema_decay": 1.0}}, "ema_decay is 1.0"),
      ({"mesh": {"data": -1, "fsdp": -1}}, "at most one -1"),
      ({"optimizer": {"max_grad_norm": 1e-9}}, "max_grad_norm is 1e-09; .* at least 1e-6"),
      ({"optimizer": {"weight_decay": 1e5}},
       "weight_decay is 100000.0; .* below 1 / peak_learning_rate"),
      ({"train": {"profile_at": 11, "steps": 10}, "optimizer": {"warmup_steps": 0}},
       "profile_at is 11; .* a step of the run's 10"),
      ({"train": {"label_dropout": 1.0}}, "label_dropout is 1.0; .* below 1"),
      ({"process": {"t_min": 0.3}}, "t_min is 0.3; .* t_min_low 0.0 to t_min_high 0.05"),
      ({"model": {"kind": "flow_matching"}, "train": {"objective": "pair_wise"}},
       "objective is 'pair_wise'; expected 'end_to_end' without model.kind 'ntm'"),
      ({"train": {"time_sampling": "uniform"}}, "time_sampling is 'uniform'; .* 'flow_matching'"))
  def test_mistakes_are_named(self, values, message):
    with self.assertRaisesRegex(ValueError, message):
      config_lib.from_dict(values)


if __name__ == "__main__":
  absltest.main()
