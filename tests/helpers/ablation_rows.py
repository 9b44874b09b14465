"""Made-up rows of `ntm table --reduced`, and its commands without models."""

import ast
import json
import pathlib

from ntm import config as config_lib
from ntm.ablations import recipes, rows
from ntm.training import workdir as workdir_lib


def row(experiment: str, sampler: str, seed: int = 0, quick: bool = False, **figures) -> dict:
  """A row of today's recipe."""
  recipe = recipes.Recipe(experiment, seed, sampler, quick)
  return rows.made(recipe, figures, {
      "workdir": f"runs/{experiment}-{seed}", "config_sha256": f"{seed}" * 64,
      "commands": ["ntm train", f"ntm evaluate {sampler}"], "machine": "2 CPUs, Linux x86_64",
      "date": f"2026-11-2{seed}T00:00:00+00:00", "jax": "0.10.2", "seconds": {"evaluate": 2.0}})


def measured(metric: str, **values: list) -> dict:
  """{(experiment, seed, sampler): row} of figures per seed.

  Args:
    metric: the figure.
    **values: {experiment__sampler: figures of seeds 0, 1, ...; None for a diverged training}.
  """
  found = []
  for name, figures in values.items():
    experiment, sampler = name.split("__")
    for seed, value in enumerate(figures):
      found.append(row(experiment, sampler, seed, **{metric: value})
                   if value is not None else
                   row(experiment, sampler, seed) | {"diverged_at_step": 7})
  return rows.valid(found)


def call(command: list[str], log: pathlib.Path) -> float:
  """What `ntm ...` leaves behind that the next command needs; in place of `running._call`."""
  log.open("a").write(" ".join(command) + "\n")
  flags = dict(flag.removeprefix("--").split("=", 1) for flag in command[2:])
  if command[1] == "evaluate":
    config = workdir_lib.read(flags["workdir"])
    pathlib.Path(flags["json"]).write_text(json.dumps({
        "config_sha256": config_lib.sha256(config), "date": "2026-11-28T00:00:00+00:00",
        "jax": "0.10.2", "device": "cpu", "frechet_distance": 1.5}))
    return 3.0
  path = pathlib.Path(flags["config"])
  values = config_lib.load_sibling(str(path), path.name)
  values.update_from_flattened_dict({key.removeprefix("config."): _value(text)
                                     for key, text in flags.items() if key.startswith("config.")})
  workdir = flags.get("workdir") or f"{flags['teacher']}/denoiser"
  workdir_lib.prepare(workdir, config_lib.from_dict(values))
  (workdir_lib.checkpoints(workdir) / str(values.train.steps)).mkdir(parents=True)
  return 60.0


def _value(text):
  try:
    return ast.literal_eval(text)
  except (SyntaxError, ValueError):
    return text
