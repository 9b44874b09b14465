"""The rows of results.jsonl: one per experiment, seed and way to sample."""

import json
import pathlib
from collections.abc import Iterable

from ntm.ablations.recipes import Recipe

# What tables and claims read of the results of `ntm evaluate`, and what else identifies them.
FIGURES = (
    "nll_nats_per_dim", "nll_standard_error", "train_nll_nats_per_dim", "frechet_distance",
    "frechet_standard_error", "precision", "recall", "class_accuracy", "kl_to_truth_nats",
    "kl_to_truth_standard_error", "gaussian_kl_nats", "in_mode_share", "exact_in_mode_share",
    "score", "unseen_score", "num_steps", "num_samples", "num_nonfinite_samples",
    "features_sha256")
_FILE = "results.jsonl"


def read(folder: pathlib.Path) -> list[dict]:
  """All rows of a folder of results, in order of writing; empty if the file is missing.

  A last line that was cut off by a kill is left out: its row is made again.

  Raises:
    ValueError: another line that is not JSON.
  """
  path = folder / _FILE
  lines = path.read_text().split("\n") if path.exists() else [""]
  rows = []
  for number, line in enumerate(lines, start=1):
    try:
      rows += [json.loads(line)] if line else []
    except ValueError as error:
      if number < len(lines):
        raise ValueError(f"line {number} of {path} is damaged ({error}); remove it, and its row is "
                         "made again.") from error
  return rows


def append(folder: pathlib.Path, row: dict) -> None:
  """Adds a row, after the end of a line that was cut off."""
  path = folder / _FILE
  text = path.read_text() if path.exists() else ""
  if text and not text.endswith("\n"):
    path.write_text(text[:text.rfind("\n") + 1])
  with path.open("a") as file:
    file.write(json.dumps(row) + "\n")


def valid(rows: Iterable[dict], quick: bool = False) -> dict[tuple[str, int, str], dict]:
  """{(experiment, seed, sampler): its newest row} of the rows made by today's recipes.

  Args:
    rows: in order of writing.
    quick: whether rows of quick recipes are wanted.
  """
  found = {}
  for row in rows:
    key = row["experiment"], row["seed"], row["sampler"]
    try:
      today = Recipe(*key, quick).sha256()
    except KeyError:  # No such experiment or way to sample today.
      continue
    if row["recipe_sha256"] == today:
      found[key] = row
  return found


def made(recipe: Recipe, result: dict, about: dict) -> dict:
  """The row of a recipe.

  Args:
    recipe: what was made.
    result: of `ntm evaluate`; empty if training diverged.
    about: further entries, such as the commands.
  """
  experiment, seed, sampler = recipe.key
  return {"experiment": experiment, "seed": seed, "sampler": sampler,
          "recipe_sha256": recipe.sha256(), **about,
          **{name: result[name] for name in FIGURES if name in result}}
