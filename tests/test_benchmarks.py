"""The benchmarks run and write the figures that tools read."""

import argparse
import contextlib
import importlib
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from unittest import mock

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ntm import config as config_lib
from ntm.conversion import converter
from ntm.data import digits
from ntm.losses import task
from ntm.nn import partitioning
from ntm.training import state as state_lib
from ntm.training import step as step_lib

_BENCHMARKS = pathlib.Path(__file__).parents[1] / "benchmarks"


def _run(name, *flags):
  path = pathlib.Path(tempfile.mkdtemp()) / "result.json"
  subprocess.run([sys.executable, _BENCHMARKS / name, "--quick", f"--json={path}", *flags],
                 check=True)
  return json.loads(path.read_text())


def _import(name):
  with mock.patch.object(sys, "path", [str(_BENCHMARKS), *sys.path]):
    return importlib.import_module(name)


class AllocateTest(parameterized.TestCase):
  """Steps of the classes under a budget."""

  def setUp(self):
    super().setUp()
    self.allocate = _import("adaptive_steps").allocate
    # More steps gain most in class 1, nothing in class 2.
    self.bound_TC = np.array([[0.0, 0.0, 5.0], [1.0, 4.0, 5.0], [1.5, 6.0, 4.0]])

  @parameterized.parameters((4, [4, 4, 4]), (5.4, [4, 8, 4]), (6.7, [8, 8, 4]), (9.4, [8, 16, 4]),
                            (100, [16, 16, 4]))
  def test_an_evaluation_goes_where_it_gains_most(self, budget, expected):
    self.assertSequenceEqual(self.allocate(self.bound_TC, [4, 8, 16], budget).tolist(), expected)

  def test_the_budget_is_kept_and_more_of_it_never_loses(self):
    rng, before = np.random.default_rng(0), -np.inf
    bound_TC = np.cumsum(rng.uniform(0, 1, (3, 10)), axis=0)
    for budget in np.linspace(4, 16, 13):
      steps_C = self.allocate(bound_TC, [4, 8, 16], budget)
      self.assertLessEqual(steps_C.mean(), budget)
      total = sum(bound_TC[[4, 8, 16].index(steps), c] for c, steps in enumerate(steps_C))
      self.assertGreaterEqual(total, before)
      before = total


class ResultFileTest(absltest.TestCase):

  def test_its_directories_are_made_and_a_path_that_cannot_be_written_is_refused_at_once(self):
    root = pathlib.Path(tempfile.mkdtemp())
    (root / "file").touch()
    result_file = _import("result_file")
    parser = argparse.ArgumentParser()
    result_file.add_flag(parser)
    self.assertIsNone(parser.parse_args([]).json)
    path = root / "missing" / "dir" / "result.json"
    self.assertEqual(parser.parse_args([f"--json={path}"]).json, path)
    path.write_text("{}")
    for name, message in ((root, "Is a directory"),
                          (root / "file" / "a.json", "Not a directory|File exists")):
      with (contextlib.redirect_stderr(io.StringIO()) as stderr, self.assertRaises(SystemExit)):
        parser.parse_args([f"--json={name}"])
      self.assertRegex(stderr.getvalue(), f"argument --json: .* cannot be written .*({message})")


class PaddingTest(absltest.TestCase):

  def test_a_change_gives_a_row_more(self):
    path = _BENCHMARKS.parent / "configs" / "digits.py"
    names, shares = [], []
    for change in ("", "width=256"):
      _, name, *_, small, large, _ = _import("padding").row(path, change).split("|")
      names.append(name.strip())
      shares.append((float(small.strip(" %")), float(large.strip(" %"))))
    self.assertEqual(names, ["`digits`", "`digits` width=256"])
    self.assertGreater(shares[0][0], shares[1][0])  # Whole tiles have less to fill.
    for small, large in shares:
      self.assertLess(small, large)


class ScalingTest(absltest.TestCase):

  def test_prints_what_is_there_and_compiles_the_rest(self):
    results = pathlib.Path(tempfile.mkdtemp())
    tables = lambda *flags: subprocess.run(
        [sys.executable, _BENCHMARKS / "scaling.py", "--print_only", f"--results={results}",
         *flags], check=True, capture_output=True, text=True).stdout
    table = tables("--tables", "smallest", "weak")
    self.assertIn("| `imagenet256` | train | v5e:4x8 | not yet compiled |", table)
    self.assertIn("| 8 | (1, 8) | not yet compiled |", table)
    figures = {
        "parameters": 7, "arguments": 2 ** 30, "temporaries": 3 * 2 ** 30, "chips": 32,
        "hbm_per_chip_bytes": 4 * 2 ** 30, "hbm_limit_bytes": 16 * 2 ** 30, "fits": True,
        "flops_per_chip": 2e12, "collective_bytes": {"all-gather": 2 ** 29}, "mfu_bound": 0.75,
        "mfu_bound_without_overlap": 0.4, "bounds_seconds": {
            "compute": 2.0, "memory": 0.5, "interconnect": 1.0, "network": 0.0}}
    (results / "imagenet256-v5e_4x8-train.json").write_text(json.dumps(figures))
    self.assertIn("| v5e:4x8 | 32 | 7 | 1.00 | 3.00 | 4.00 | 25.0% | 2.0 | 0.50 | 0.50 | 0.25 | "
                  "75% | 40% |", tables("--tables", "smallest"))

  def test_what_is_compiled_without_windows_says_so_to_libtpu_and_has_its_own_file(self):
    scaling, results = _import("scaling"), pathlib.Path(tempfile.mkdtemp())
    with (mock.patch.object(scaling.subprocess, "run",
                            return_value=mock.Mock(returncode=0)) as run,
          mock.patch.dict(os.environ, {"LIBTPU_INIT_ARGS": "--other"})):
      for windows in (True, False):
        scaling.compile_case(scaling.Case("digits", "v6e:4x8", windows=windows), results)
    given = [call.kwargs["env"]["LIBTPU_INIT_ARGS"] for call in run.call_args_list]
    self.assertEqual(given[0], "--other")
    self.assertRegex(given[1], "^--other --xla.*windowed.*=1000000$")
    files = [call.args[0][-1] for call in run.call_args_list]
    self.assertEqual([f"--json={results}/digits-v6e_4x8-train{end}.json"
                      for end in ("", "-no_windows")], files)


_TINY_RECIPE = ("model.patch_shape=(8,8) model.transporter.num_blocks=1 model.transporter.width=8 "
                "model.transporter.num_heads=2 model.transporter.num_kv_heads=2 "
                "model.predictor.layers=1 model.predictor.width=8 model.predictor.num_heads=2 "
                "model.predictor.num_kv_heads=2 model.unroll=1 process.num_steps=(2,) "
                "optimizer.warmup_steps=0 train.batch_size=6 train.steps=5 train.seed=3")


class EndlessTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    with mock.patch.object(sys, "path", [str(_BENCHMARKS), *sys.path]):
      self.endless = importlib.import_module("endless")
      self.recipes = importlib.import_module("endless_recipes")
      self.worker = importlib.import_module("endless_run")

  def test_every_recipe_is_a_config(self):
    configs = {name: self.recipes.config_of(changes)
               for name, changes in self.recipes.RECIPES.items()}
    self.assertTrue(all(config.data.augment for config in configs.values()))
    # As many noisy states per update.
    self.assertEqual({config.train.batch_size * (
        1 if config.model.kind == "flow_matching" else config.process.num_steps[0])
                      for config in configs.values()}, {128})

  def test_any_key_can_be_changed(self):
    config = self.recipes.config_of("model.predictor.width=64 model.predictor.output=velocity "
                                    "model.predictor.reads_noise=True process.t_min_low=0.01 "
                                    "process.num_steps=(4,8) optimizer.peak_learning_rate=1e-3")
    self.assertEqual(config.model.predictor.width, 64)
    self.assertEqual(config.model.predictor.output, "velocity")
    self.assertEqual(config.process.num_steps, (4, 8))
    self.assertEqual(config.optimizer.peak_learning_rate, 1e-3)

  @parameterized.parameters(
      ("model.predictor.widht=64", "widht is not a known key; .*\\.width"),
      ("modle.width=64", "modle is not a known key"), ("train.steps", "'train.steps' is not a ch"),
      ("train.steps=many", "steps is 'many'; expected int"))
  def test_a_change_that_is_none_is_named(self, changes, message):
    with self.assertRaisesRegex(ValueError, message):
      self.recipes.config_of(changes)

  def test_the_objective_of_a_recipe_is_no_config(self):
    changes = "objective=mean_flow model.kind=flow_matching model.unroll=1"
    config = config_lib.to_dict(self.recipes.config_of(changes))
    self.assertEqual(self.recipes.objective_of(config, changes), {"objective": "mean_flow"})
    self.assertEqual(self.recipes.objective_of(config, "model.kind=flow_matching"), {})
    with self.assertRaisesRegex(ValueError, "objective=mean_flow with model.kind=ntm; expected"):
      self.recipes.objective_of(config_lib.to_dict(self.recipes.config_of("")), changes)

  def test_the_mean_velocity_of_a_gaussian(self):
    scale = 0.3
    sigma = lambda t: jnp.sqrt((1 - t) ** 2 * scale ** 2 + t ** 2)[:, None, None]

    def velocity(z, r, t):
      return z * (1 - sigma(r) / sigma(t)) / (t - r)[:, None, None]

    z = jax.random.normal(jax.random.key(0), (5, 2, 3))
    r, t = jnp.array([0, 0.1, 0.3, 0.5, 0.8]), jnp.array([0.2, 0.9, 0.5, 1, 0.95])
    slope = jax.vmap(jax.grad(lambda t: jnp.log(sigma(t[None])[0, 0, 0])))(t)
    u, target = self.worker.mean_flow.prediction_and_target(
        velocity, z, z * slope[:, None, None], r, t)
    np.testing.assert_allclose(u, target, rtol=1e-4, atol=1e-5)
    for steps in (1, 4):  # The true mean velocity needs one step.
      np.testing.assert_allclose(self.worker.mean_flow.sample(velocity, z, steps), scale * z,
                                 rtol=1e-4)

  def test_recipes_are_chosen_and_added(self):
    chosen = self.recipes.chosen_recipes(["affine_4"], ["wide: a.b=1 c.d=2"])
    self.assertEqual(chosen, {"affine_4": "", "wide": "a.b=1 c.d=2"})
    self.assertEqual(self.recipes.chosen_recipes(None, []), self.recipes.RECIPES)
    for names, more, message in ((["none"], [], r"--recipes has \['none'\]"),
                                 (None, ["a.b=1"], "--recipe is 'a.b=1'"),
                                 (None, ["../x: a.b=1"], "--recipe is '../x")):
      with self.assertRaisesRegex(ValueError, message):
        self.recipes.chosen_recipes(names, more)

  def test_no_draw_is_in_two_updates_or_seeds(self):
    draws = [self.worker.draw(self.recipes.config_of(f"{_TINY_RECIPE} train.seed={seed}"), 0, 4)
             for seed in (0, 1)]
    images = np.concatenate([batch["image"].reshape(24, 64) for batch in draws])
    self.assertLen(np.unique(images, axis=0), 48)
    late = self.worker.draw(self.recipes.config_of(f"{_TINY_RECIPE} train.seed=1"), 2, 2)
    np.testing.assert_array_equal(late["image"], draws[1]["image"][2:])

  @pytest.mark.slow
  def test_training_is_the_librarys_step_on_consecutive_draws_and_resumes(self):
    config = self.recipes.config_of(_TINY_RECIPE)
    run, mesh = task.density(config), partitioning.make_mesh(config.mesh, jax.devices()[:1])
    step = step_lib.make_train_step(run, config, mesh)
    state = state_lib.init_state(run, config, mesh)
    source = digits.EndlessDigits("train")
    for i in range(5):
      state, _, _ = step(state, source.batch((3 << 30) + np.arange(6 * i, 6 * i + 6)), None)
    workdir = pathlib.Path(tempfile.mkdtemp())
    # Two programs of two and of one update, a checkpoint after each, and a stop after the first.
    draw = mock.Mock(side_effect=[self.worker.draw(config, 0, 2), KeyboardInterrupt])
    with (mock.patch.object(self.worker, "_SEGMENT", 2),
          mock.patch.object(self.worker, "_SAVE_SECONDS", 0)):
      with mock.patch.object(self.worker, "draw", draw), self.assertRaises(KeyboardInterrupt):
        self.worker.train(config, workdir)
      with mock.patch.object(self.worker, "draw", wraps=self.worker.draw) as draw:
        params, timing = self.worker.train(config, workdir)
    self.assertEqual([call.args[1:] for call in draw.call_args_list], [(2, 2), (4, 1), (5, 0)])
    chex.assert_trees_all_close(params, state.ema, rtol=1e-4, atol=1e-6)
    self.assertGreater(timing["train_seconds"], 0)
    with self.assertRaisesRegex(ValueError, "holds a run with another config"):
      self.worker.train(self.recipes.config_of(f"{_TINY_RECIPE} train.batch_size=8"), workdir)

  def test_the_table_has_means_and_errors_over_seeds(self):
    results = pathlib.Path(tempfile.mkdtemp())
    row = {"recipe": "wide", "sampler": "4 steps", "changes": [], "evaluations": 4,
           "frechet_standard_error": 0.25, "nll_nats_per_dim": 0.5}
    rows = [row | {"seed": seed, "frechet_distance": value}
            for seed, value in enumerate((1.0, 2.0, 3.0))]
    rows.append(row | {"sampler": "4 steps, refined", "seed": 0, "frechet_distance": 1.5})
    self.endless.append(results, rows)
    table = subprocess.run([sys.executable, _BENCHMARKS / "endless.py", f"--results={results}",
                            "--table"], check=True, capture_output=True, text=True).stdout
    self.assertIn("| wide | 4 steps | 3 |  |  | 4 | 2.000 ± 0.577 |  |  |  | 0.5000 |", table)
    self.assertIn("| wide | 4 steps, refined | 1 |  |  | 4 | 1.500 ± 0.250 |", table)

  def test_the_figure_shows_the_recorded_rows(self):
    rows = _BENCHMARKS.parent / "docs" / "measurements" / "endless_h100.jsonl"
    picture = pathlib.Path(tempfile.mkdtemp()) / "endless.png"
    command = [sys.executable, _BENCHMARKS / "endless_figure.py", rows, f"--picture={picture}"]
    subprocess.run([*command, "--panel", "flow_matching", "affine", "--panel", "affine_6k"],
                   check=True)
    self.assertEqual(picture.read_bytes()[:4], b"\x89PNG")
    wrong = subprocess.run([*command, "--panel", "afine"], capture_output=True, text=True)
    self.assertEqual(wrong.returncode, 1)
    self.assertIn("--panel names ['afine']; the rows have ['affine',", wrong.stderr)

  @pytest.mark.slow
  def test_trains_judges_and_does_not_repeat(self):
    results = pathlib.Path(tempfile.mkdtemp())
    tiny = _TINY_RECIPE.removesuffix(" train.seed=3")
    command = [sys.executable, _BENCHMARKS / "endless.py", f"--results={results}", "--quick",
               "--workers=2", "--recipes", "flow_matching", f"--recipe=tiny: {tiny}",
               "--recipe=mean: objective=mean_flow model.kind=flow_matching",
               "--common=model.predictor.width=8 model.predictor.num_heads=2 "
               "model.predictor.num_kv_heads=2"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    self.assertIn("tiny-0 done in", output)
    rows = self.endless.read(results)
    self.assertEqual([row["sampler"] for row in rows if row["recipe"] == "tiny"],
                     ["2 steps", "2 steps, refined"])
    evaluations = {row["sampler"]: row["evaluations"] for row in rows
                   if row["recipe"] == "flow_matching"}
    self.assertEqual(evaluations, {"euler 1": 1, "euler 2": 2, "euler 4": 4, "euler 8": 8,
                                   "euler 50": 50, "heun 4": 7, "heun 8": 15, "dpm++ 4": 4,
                                   "dpm++ 8": 8})
    fresh = next(row for row in rows if row["recipe"] == "fresh draws")
    for row in rows:
      self.assertGreaterEqual(row["frechet_distance"], fresh["frechet_distance"])
      self.assertEqual(row["num_samples"], 200)
    again = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    self.assertNotIn("done in", again)
    self.assertLen(self.endless.read(results), len(rows))


class TablesTest(absltest.TestCase):

  def test_the_tables_of_the_pages_are_those_of_the_rows(self):
    found = subprocess.run([sys.executable, _BENCHMARKS / "tables.py"], capture_output=True,
                           text=True)
    self.assertEqual(found.returncode, 0, found.stdout + found.stderr)

  def test_another_number_is_found_and_put_right(self):
    with mock.patch.object(sys, "path", [str(_BENCHMARKS), *sys.path]):
      tables = importlib.import_module("tables")
    docs = pathlib.Path(tempfile.mkdtemp()) / "docs"
    shutil.copytree(_BENCHMARKS.parent / "docs", docs)
    page = docs / "results.md"
    right = page.read_text()
    page.write_text(right.replace("| 1.112 | 0.986 |", "| 1.112 | 0.886 |"))
    with mock.patch.object(tables, "_DOCS", docs):
      with (mock.patch.object(sys, "argv", ["tables.py"]),
            self.assertRaisesRegex(SystemExit, r"the tables \['equal'\] are not those")):
        tables.main()
      with mock.patch.object(sys, "argv", ["tables.py", "--write"]):
        tables.main()
    self.assertEqual(page.read_text(), right)

  def test_another_picture_is_found_and_put_right(self):
    with mock.patch.object(sys, "path", [str(_BENCHMARKS), *sys.path]):
      tables = importlib.import_module("tables")
    docs = pathlib.Path(tempfile.mkdtemp()) / "docs"
    shutil.copytree(_BENCHMARKS.parent / "docs", docs)
    shutil.copy(docs / "images" / "digits.png", docs / "images" / "ablations.png")
    with mock.patch.object(tables, "_DOCS", docs):
      with (mock.patch.object(sys, "argv", ["tables.py"]),
            self.assertRaisesRegex(SystemExit, "the picture of ablations.md")):
        tables.main()
      with mock.patch.object(sys, "argv", ["tables.py", "--write"]):
        tables.main()
      with mock.patch.object(sys, "argv", ["tables.py"]):
        tables.main()


@pytest.mark.slow
class ShapesTest(absltest.TestCase):

  def _run(self, results, *arguments):
    return subprocess.run([sys.executable, _BENCHMARKS / "shapes.py", f"--results={results}",
                           *arguments], check=True, capture_output=True, text=True,
                          env=os.environ | {"XLA_FLAGS": ""}).stdout

  def test_the_table_has_means_and_errors(self):
    results = pathlib.Path(tempfile.mkdtemp())
    with mock.patch.object(sys, "path", [str(_BENCHMARKS), *sys.path]):
      endless = importlib.import_module("endless")
      categories = importlib.import_module("shapes").CATEGORIES
    names = ["score", "unseen_score", *(f"score_{name.replace(' ', '_')}" for name in categories)]
    row = {"model": "ntm", "sampler": "raw", "frechet_standard_error": 0.5,
           "nll_nats_per_dim": -0.25, "nll_standard_error": 0.01}
    row |= {f"{name}_standard_error": 0.02 for name in names} | dict.fromkeys(names, 0.5)
    endless.append(results, [row | {"seed": 0, "frechet_distance": 1.0}])
    self.assertIn("| ntm | raw | 1 | 50.0 ± 2.0 | ", self._run(results, "--table"))
    endless.append(results, [row | {"seed": 1, "frechet_distance": 2.0}])
    table = self._run(results, "--table")
    self.assertIn("| ntm | raw | 2 | 50.0 ± 0.0 | ", table)
    self.assertIn("| 1.50 ± 0.50 | -0.2500 ± 0.0000 |", table)

  @pytest.mark.slow
  def test_trains_judges_draws_and_does_not_repeat(self):
    results = pathlib.Path(tempfile.mkdtemp())
    picture = results / "picture.png"
    arguments = ["--quick", "--models", "gaussian", "flow_matching", f"--picture={picture}",
                 "--common=model.patch_shape=(16,16) model.predictor.width=8 "
                 "model.predictor.num_heads=2 model.predictor.num_kv_heads=2 "
                 "model.predictor.layers=1 model.unroll=1"]
    self.assertIn("gaussian-0 took", self._run(results, *arguments))
    rows = [json.loads(line) for line in (results / "results.jsonl").read_text().splitlines()]
    self.assertEqual([row["model"] for row in rows],
                     ["fresh pictures", *2 * ["gaussian"], *6 * ["flow_matching"]])
    self.assertGreater(rows[0]["score"], 0.9)
    self.assertEqual(picture.read_bytes()[:4], b"\x89PNG")
    again = self._run(results, *arguments)
    self.assertNotIn("took", again)
    self.assertIn("| gaussian | refined | 1 |", again)
    wrong = subprocess.run([sys.executable, _BENCHMARKS / "shapes.py", f"--results={results}",
                            "--models", "gaussian"], capture_output=True, text=True)
    self.assertIn("choose another folder", wrong.stderr)


@pytest.mark.slow
class BenchmarksTest(absltest.TestCase):

  def test_inference(self):
    result = _run("inference.py")
    self.assertLess(result["solvers_max_difference"], 1e-4)
    self.assertGreater(result["denoiser_speedup"], 0)
    self.assertIn("jacobi", result["solvers"]["16"])

  def test_transporters(self):
    result = _run("transporters.py")
    self.assertLen(result["seconds"], 16)
    self.assertEqual(set(result["ratios"]["affine"].values()), {1.0})

  def test_price(self):
    result = _run("price.py")
    self.assertLen(result, 11)
    self.assertGreater(result["flow matching, euler 4"], result["flow matching, euler 50"])

  def test_training(self):
    result = _run("training.py")
    self.assertIn("pair_wise, remat dots", result["steps"])
    self.assertGreater(result["reversible_memory_growth"], 0)

  def test_start_up(self):
    first, cached, compiled = _run("start_up.py")
    self.assertEqual({row["processes"] for row in (first, cached, compiled)}, {1})
    self.assertLess(cached["compile"], compiled["compile"])
    self.assertGreater(min(first["launch"], first["start"], cached["start"]), 0)

  def test_round_trip(self):
    out = subprocess.run([sys.executable, _BENCHMARKS / "round_trip.py"], capture_output=True,
                         text=True, check=True, env=os.environ | {"JAX_PLATFORMS": "cpu"}).stdout
    default, ours = out.splitlines()[1:]
    self.assertEqual(default.split("rounds")[1].split(), ours.split("float32")[1].split())

  def test_gaussian_chain(self):
    out = subprocess.run([sys.executable, _BENCHMARKS / "gaussian_chain.py", "--draws=2000"],
                         capture_output=True, text=True, check=True).stdout
    rows = {line.split("|")[1].strip(): [float(cell.split()[0]) for cell in line.split("|")[2:-1]]
            for line in out.splitlines()[2:]}
    self.assertEqual(rows["grid25, diagonal"], rows["grid25, full"])  # Independent dimensions.
    self.assertAlmostEqual(rows["grid25, diagonal"][2], 2.24, delta=0.15)
    for name in ("ring8", "checkerboard"):
      diagonal, full = rows[f"{name}, diagonal"], rows[f"{name}, full"]
      self.assertTrue(all(f <= d + 0.01 for f, d in zip(full, diagonal)))
      self.assertEqual(full, sorted(full, reverse=True))

  def test_level_map(self):
    out = subprocess.run([sys.executable, _BENCHMARKS / "level_map.py", "--rounds=1"],
                         capture_output=True, text=True, check=True).stdout
    gaussian, mapped = (float(line.split()[2]) for line in out.splitlines())
    self.assertAlmostEqual(gaussian, 2.18, delta=0.03)  # As gaussian_chain.py of the first step.
    self.assertBetween(mapped, 0.06, 0.1)

  def test_grid25_trains_measures_and_does_not_repeat(self):
    results = pathlib.Path(tempfile.mkdtemp())
    command = [sys.executable, _BENCHMARKS / "grid25.py", "--quick", f"--results={results}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    self.assertIn("10 of 10", done.stderr)
    for name in ("grid25.png", "grid25_steps.png"):
      self.assertGreater((results / name).stat().st_size, 5000)
    rows = {path.stem: json.loads(path.read_text()) for path in results.glob("*.json")}
    self.assertSetEqual(set(rows), {"gaussian", "T1", "T4"})
    for row in rows.values():  # Hardly trained.
      self.assertGreater(row["kl_to_truth_nats"], row["gaussian_kl_nats"] - 0.5)
    again = subprocess.run(command, check=True, capture_output=True, text=True)
    self.assertEqual(again.stdout, done.stdout)
    self.assertNotIn("of 10", again.stderr)
    full = subprocess.run(command[:2] + command[3:], capture_output=True, text=True)
    self.assertEqual(full.returncode, 1)
    self.assertRegex(full.stderr, "(?m)json is of .*train.steps=10.*; choose another --results")

  def test_templates_keeps_what_is_measured(self):
    results = pathlib.Path(tempfile.mkdtemp())
    command = [sys.executable, _BENCHMARKS / "templates.py", "--quick", f"--results={results}",
               "--models", "both", "flow_matching"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    rows = [json.loads(line) for line in (results / "results.jsonl").read_text().splitlines()]
    self.assertLen(rows, 7)
    self.assertEqual({row["sampler"]: row["evaluations"] for row in rows}["heun 4"], 7)
    self.assertGreater(rows[0]["kl_to_truth_nats"], rows[0]["gaussian_kl_nats"])  # Untrained.
    again = subprocess.run(command, check=True, capture_output=True, text=True)
    self.assertEqual(again.stdout, done.stdout)
    self.assertNotIn("of 10", again.stderr)

  def test_accelerator(self):
    result = _run("accelerator.py", _BENCHMARKS.parent / "configs" / "digits.py",
                  "--batch_sizes", "8", "16")
    small, large = (result["rows"][f"batch {size}, remat full, kernel auto"]
                    for size in (8, 16))
    work = lambda row: row["flops_per_second"] * row["seconds"]
    self.assertAlmostEqual(work(large) / work(small), 2)
    self.assertAlmostEqual(large["examples_per_second"] * large["seconds"], 16)
    self.assertLess(small["memory_GiB"], large["memory_GiB"])
    self.assertAlmostEqual(large["flops_per_second"] / result["product_flops_per_second"],
                           large["of_product"])

  def test_encode(self):
    rows = _run("encode.py")["rows"]
    self.assertEqual(set(rows), {"folder", "webdataset", "parquet", "tfds"})
    for row in rows.values():
      self.assertEqual(row["images"], 32)
      self.assertGreater(row["read_per_second"], row["images_per_second"])
      self.assertGreater(row["record_bytes"], 8 * 32 * 32 * 4)

  def test_encode_writes_its_autoencoder_alone(self):
    directory = pathlib.Path(tempfile.mkdtemp()) / "new"
    out = subprocess.run([sys.executable, _BENCHMARKS / "encode.py", "--autoencoder", directory],
                         capture_output=True, text=True, check=True).stdout
    self.assertEmpty(out)
    family, _, params = converter.load(directory / "vae")
    self.assertEqual(family, "autoencoder_kl")
    self.assertIn("encoder", params)

  def test_convert_memory(self):
    result = _run("convert_memory.py")
    self.assertGreater(result["peak_bytes"], result["libraries_bytes"])
    # The blocks are read one at a time, not stacked in memory.
    self.assertLess(result["over_libraries_bytes"], 100e6)

  def test_those_of_few_steps(self):
    root = pathlib.Path(tempfile.mkdtemp())
    tiny = ["--config.model.predictor.width=16", "--config.model.transporter.width=16",
            "--config.optimizer.warmup_steps=0", "--config.train.steps=3",
            "--config.train.log_every=1"]
    train = lambda name, *flags: subprocess.run(
        [sys.executable, "-m", "ntm.commands.main", "train",
         f"--config={_BENCHMARKS.parent}/configs/{name}.py", f"--workdir={root / name}", *tiny,
         *flags], check=True)
    train("digits_fm")
    train("digits_finetune", f"--config.finetune.source={root / 'digits_fm'}")
    path = root / "result.json"
    subprocess.run([sys.executable, _BENCHMARKS / "few_steps.py", "--quick",
                    f"--fm={root / 'digits_fm'}", "--ntm", root / "digits_finetune",
                    f"--json={path}"], check=True)
    rows = json.loads(path.read_text())["rows"]
    self.assertEqual(rows["flow matching, heun 4"]["evaluations"], 7)
    self.assertIn("digits_finetune 4, refined", rows)
    subprocess.run([sys.executable, _BENCHMARKS / "levels.py", "--quick", "--draws=1",
                    f"--json={path}", root / "digits_finetune"], check=True)
    rows = json.loads(path.read_text())[str(root / "digits_finetune")]
    self.assertLen(rows, 5)
    # Real images with little noise are nearer to the real ones than samples.
    self.assertLess(rows[0]["frechet_distance"], rows[-1]["frechet_distance"])
    subprocess.run([sys.executable, _BENCHMARKS / "classify.py", "--quick", f"--json={path}",
                    "--ntm", root / "digits_finetune", "--fm", root / "digits_fm"], check=True)
    rows = json.loads(path.read_text())
    self.assertSetEqual(set(rows), {"digits_finetune, 1", "digits_fm, 1", "trained to classify"})
    self.assertGreater(rows["trained to classify"]["accuracy"], 0.9)
    subprocess.run([sys.executable, _BENCHMARKS / "best_of_n.py", "--quick", "--most=2",
                    f"--json={path}", f"--workdir={root / 'digits_finetune'}"], check=True)
    rows = json.loads(path.read_text())["rows"]
    self.assertSetEqual(set(rows), {"real test images", "random", "best of 2 by likelihood",
                                    "best of 2 by typicality"})
    train("digits_multi_step", "--config.process.num_steps=(2,4)", "--config.train.batch_size=8")
    subprocess.run([sys.executable, _BENCHMARKS / "adaptive_steps.py", "--quick", "--budgets", "3",
                    f"--json={path}", f"--workdir={root / 'digits_multi_step'}"], check=True)
    rows = json.loads(path.read_text())["rows"]
    self.assertLessEqual(np.mean(rows["budget 3, by likelihood"]["steps"]), 3)
    self.assertSetEqual(set(rows["T = 4"]["steps"]), {4})
    subprocess.run([sys.executable, _BENCHMARKS / "lossless.py", "--quick", f"--json={path}",
                    f"--workdir={root / 'digits_multi_step'}"], check=True)
    result = json.loads(path.read_text())
    self.assertTrue(result["equal"])
    self.assertLess(abs(result["longer_by"]), 1e-3)
    picture = root / "curves.png"
    subprocess.run([sys.executable, _BENCHMARKS / "compare_runs.py", root / "digits_finetune",
                    f"--picture={picture}"], check=True)
    self.assertGreater(picture.stat().st_size, 1000)


if __name__ == "__main__":
  absltest.main()
