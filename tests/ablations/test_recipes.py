"""Commands of a row: what they train is what is expected, and what changes them is noticed."""

import pathlib
import tempfile
from unittest import mock

from absl.testing import absltest, parameterized

from ntm import config as config_lib
from ntm.ablations import recipes
from ntm.ablations.experiments import EXPERIMENTS
from ntm.ablations.recipes import Recipe
from ntm.training import workdir as workdir_lib
from tests.helpers import ablation_rows


class RecipesTest(parameterized.TestCase):

  @parameterized.product(name=list(EXPERIMENTS), quick=[False, True])
  def test_the_command_trains_the_config_of_the_recipe(self, name, quick):
    results = pathlib.Path(tempfile.mkdtemp())
    recipe = Recipe(name, 3, next(iter(EXPERIMENTS[name].samplers)), quick)
    ablation_rows.call(recipes.filled(recipe.train(), results), results / "log")
    config = workdir_lib.read(recipe.workdir.format(results=results))
    self.assertEqual(config_lib.sha256(config), config_lib.sha256(recipe.config(results)))
    self.assertEqual(config.train.seed, 3)

  def test_every_row_has_files_and_a_hash_of_its_own(self):
    every = recipes.chosen([], [0, 1], False) + recipes.chosen([], [0, 1], True)
    self.assertLen({recipe.sha256() for recipe in every}, len(every))
    self.assertLen({recipe.json for recipe in every}, len(every) // 2)

  def test_the_hash_is_of_the_commands_alone(self):
    recipe = Recipe("base", 0, "denoiser")
    before, raw = recipe.sha256(), Recipe("base", 0, "raw").sha256()
    with mock.patch.object(recipes, "NUM_SAMPLES", 7):
      self.assertNotEqual(recipe.sha256(), before)
    with mock.patch.dict(EXPERIMENTS["base"].denoiser, {"train.steps": 5}):
      self.assertNotEqual(recipe.sha256(), before)
      self.assertEqual(Recipe("base", 0, "raw").sha256(), raw)
    self.assertEqual(recipe.sha256(), before)

  def test_likelihoods_are_measured_once_for_every_number_of_steps(self):
    draws = {recipe.key: [flag for flag in recipe.evaluate() if flag.startswith("--draws")]
             for recipe in recipes.chosen(["base", "multi_T", "flow_matching"], [0], False)}
    self.assertEqual([key[2] for key, flags in draws.items() if flags == ["--draws=2"]],
                     ["refined", "T = 4", "T = 8", "T = 16"])
    self.assertEqual([key[0] for key, flags in draws.items() if not flags], ["flow_matching"] * 4)

  def test_a_seed_of_everything_comes_before_the_next_and_sources_belong_to_it(self):
    chosen = recipes.chosen(["unaligned"], [5, 2], False)
    self.assertEqual([(recipe.experiment, recipe.seed) for recipe in chosen],
                     [(name, seed) for seed in (5, 2)
                      for name in ["flow_matching"] * 4 + ["unaligned"]])
    self.assertIn("--config.finetune.source=runs/flow_matching-2",
                  recipes.filled(chosen[-1].train(), pathlib.Path("runs")))

  def test_mistakes_are_named(self):
    with self.assertRaisesRegex(ValueError, "--only has none; expected some of base, "):
      recipes.chosen(["base", "none"], [0], False)
    with (mock.patch.object(recipes, "CONFIGS", pathlib.Path("/nowhere")),
          self.assertRaisesRegex(ValueError, "not in /nowhere; expected a clone")):
      Recipe("base", 0, "raw").config(pathlib.Path("runs"))


if __name__ == "__main__":
  absltest.main()
