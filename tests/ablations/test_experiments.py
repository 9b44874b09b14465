"""The models that are compared: of equal budgets, and different from each other."""

import dataclasses
import pathlib

import pytest
from absl.testing import absltest, parameterized

from ntm.ablations.experiments import EXPERIMENTS, STATES
from ntm.ablations.recipes import Recipe
from ntm.api import checks
from tests.helpers import options


def _config(name):
  return Recipe(name, 0, next(iter(EXPERIMENTS[name].samplers))).config(pathlib.Path("runs"))


class ExperimentsTest(parameterized.TestCase):

  @parameterized.parameters(*EXPERIMENTS)
  def test_is_a_config_and_differs_from_all_others(self, name):
    config = _config(name)
    for other in EXPERIMENTS:
      if other != name:
        self.assertNotEqual(config, _config(other), other)

  @parameterized.parameters(
      *(name for name, spec in EXPERIMENTS.items() if "digits" in spec.config))
  def test_digits_see_equally_many_noisy_states_in_equally_many_updates(self, name):
    config = _config(name)
    levels = sum(config.process.num_steps) / len(config.process.num_steps)
    if config.model.kind == "flow_matching" or config.train.objective == "pair_wise":
      levels = 1
    self.assertAlmostEqual(config.train.batch_size * levels, STATES, delta=3)
    self.assertEqual(config.train.steps, _config("base").train.steps)

  @parameterized.parameters(*EXPERIMENTS)
  def test_ways_to_sample_fit_the_model(self, name):
    config, ntm = _config(name), _config(name).model.kind == "ntm"
    for flags in EXPERIMENTS[name].samplers.values():
      given = dict(flag.removeprefix("--").split("=") for flag in flags)
      allowed = {"steps", "refine", "guidance"} if ntm else {"steps", "solver"}
      self.assertContainsSubset(given, allowed)
      checks.guidance_scale(config, float(given.get("guidance", 0)))
      if ntm and "steps" in given:
        self.assertIn(int(given["steps"]), config.process.num_steps)
      if given.get("refine") == "denoiser":
        self.assertTrue(EXPERIMENTS[name].denoiser)

  @parameterized.parameters(*{_config(name).model: name for name in EXPERIMENTS}.values())
  @pytest.mark.slow  # Below the parameters: above them it marks nothing.
  def test_an_update_and_samples_of_every_model_trace(self, name):
    config = _config(name)
    options.trace(dataclasses.replace(
        config, finetune=dataclasses.replace(config.finetune, source=""),
        train=dataclasses.replace(config.train, batch_size=16)))  # For any mesh of the tests.

  def test_a_source_is_trained_before_and_is_a_velocity_of_its_predictor(self):
    names = list(EXPERIMENTS)
    for name, spec in EXPERIMENTS.items():
      if spec.source:
        self.assertLess(names.index(spec.source), names.index(name))
        source, config = _config(spec.source).model, _config(name).model
        self.assertEqual(source.kind, "flow_matching")
        self.assertEqual((source.predictor.width, source.predictor.layers),
                         (config.predictor.width, config.predictor.layers))

  def test_every_ablation_of_the_plan_is_there(self):
    num_steps = {_config(name).process.num_steps for name in EXPERIMENTS}
    self.assertContainsSubset({(1,), (2,), (4,), (8,), (16,), (4, 8, 16)}, num_steps)
    self.assertEqual({_config(name).data.source for name in EXPERIMENTS},
                     {"digits", "mixture", "scenes"})
    self.assertEqual({_config(name).model.transporter.kind for name in EXPERIMENTS},
                     {"autoregressive", "coupling"})
    self.assertEqual({_config(name).model.predictor.context for name in EXPERIMENTS},
                     {"markov", "history"})


if __name__ == "__main__":
  absltest.main()
