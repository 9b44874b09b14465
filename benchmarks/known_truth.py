"""Runs on data of known density, trained by `ntm train` and measured against the truth."""

import json
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np

import ntm
from ntm.data import pipeline
from ntm.evaluation import truth
from ntm.process import schedule, trajectory
from ntm.truth import gaussian_chain, named

_COUNT, _QUICK_COUNT = 20_000, 300  # Samples and exact trajectories.
_QUICK = ("train.steps=10", "optimizer.warmup_steps=2")


def run(config: pathlib.Path, workdir: pathlib.Path, changes, quick: bool = False,
        count: int = _COUNT, how: dict[str, dict] | None = None) -> dict:
  """Trains and measures a run, or reads what was measured.

  Args:
    config: file of the config.
    workdir: of the run; figures are in WORKDIR.json, samples of an NTM in WORKDIR.npy.
    changes: KEY=VALUE of the config, without `config.`.
    quick: ten updates and few samples.
    count: samples and exact trajectories.
    how: of flow matching, {name: arguments of `sample`}; figures of each are under "samplers".

  Raises:
    SystemExit: the results are of other changes.
  """
  path, changes = workdir.with_suffix(".json"), list(changes)
  if quick:
    changes, count = [*changes, *_QUICK], _QUICK_COUNT
  if not path.exists():
    subprocess.run([sys.executable, "-m", "ntm.commands.main", "train", f"--config={config}",
                    f"--workdir={workdir}", *(f"--config.{change}" for change in changes)],
                   check=True)
    found = samplers(workdir, count, how) if how else measure(workdir, count)
    path.write_text(json.dumps({"changes": changes} | found, indent=2) + "\n")
  result = json.loads(path.read_text())
  if result["changes"] != changes:
    raise SystemExit(f"{path} is of {result['changes']}, not {changes}; choose another --results.")
  return result


def measure(workdir: pathlib.Path, count: int) -> dict:
  """Figures of an NTM against the truth; its samples go to WORKDIR.npy."""
  model = ntm.restore(workdir)
  config, (rng_x, rng_sample) = model.config, jax.random.split(jax.random.key(0))
  mixture = named.build(config.data, config.model.image_shape)
  samples_BD = model.sample(rng_sample, num_samples=count, refine=None).reshape(count, -1)
  np.save(workdir.with_suffix(".npy"), samples_BD)
  _, test, _ = pipeline.evaluation_data(config, count)
  found, _ = truth.divergence(model, rng_x, mixture, test["image"], None, None, draws=1)
  return found | truth.sample_metrics(mixture, samples_BD, config.process.t_min) | {
      "parameters": num_parameters(model)}


def samplers(workdir: pathlib.Path, count: int, how: dict[str, dict]) -> dict:
  """Where samples of flow matching are, which has no likelihood of a trajectory to compare."""
  model = ntm.restore(workdir)
  mixture = named.build(model.config.data, model.config.model.image_shape)
  draw = lambda arguments: model.sample(jax.random.key(0), num_samples=count,
                                        **arguments).reshape(count, -1)
  return {"parameters": num_parameters(model),
          "samplers": {name: truth.sample_metrics(mixture, draw(arguments), 0.0)
                       for name, arguments in how.items()}}


def num_parameters(model) -> int:
  """Of a restored model."""
  return sum(leaf.size for leaf in jax.tree.leaves(model.params))


def gaussian_kl(workdir: pathlib.Path, steps: int, count: int = _COUNT) -> tuple[float, float]:
  """Divergence of the best Gaussian chain on the data of a run, and its standard error."""
  config = ntm.restore(workdir).config
  mixture = named.build(config.data, config.model.image_shape)
  with jax.enable_x64(True):
    times_K = schedule.uniform_times(steps, config.process.t_min)
    x_KBD = trajectory.sample_trajectory(
        jax.random.key(0), jnp.asarray(truth.draw(0, mixture, count, 0.0)), times_K)
    kl_B = np.asarray(gaussian_chain.log_ratios(mixture, x_KBD, times_K).sum(axis=0))
  return float(kl_B.mean()), float(kl_B.std() / count ** 0.5)


def kl(row: dict) -> tuple[float, float]:
  """Divergence of a row and its standard error."""
  return row["kl_to_truth_nats"], row["kl_to_truth_standard_error"]


def nats(row: dict) -> str:
  """The same as text."""
  return plus_minus(*kl(row))


def plus_minus(value: float, error: float) -> str:
  """A figure with its standard error."""
  return f"{value:.3f} ± {error:.3f}"
