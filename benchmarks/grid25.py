"""Gaussian steps against flow steps on 25 Gaussians, whose density is known.

  python benchmarks/grid25.py --results=runs/grid25_steps --pictures=docs/images

Trains configs/grid25.py in variants, each in a workdir of its own, `RESULTS/NAME`: with T = 1 .. 16
steps (or those of --num_steps), and for T = 4 without the features, the splines or the whole
transporter. What is done is not done again, and an interrupted training resumes. Every run is
measured on 20,000 samples and as many exact trajectories (`RESULTS/NAME.json`, `.npy`). Prints the
tables of docs/truth.md and draws grid25.png (samples) and grid25_steps.png (divergence over T),
next to the best Gaussian chain, whose steps have the exact moments (`ntm.truth.gaussian_chain`).
One run each, seed 0.
"""

import argparse
import json
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import ntm
from ntm.data import pipeline
from ntm.evaluation import truth
from ntm.process import schedule, trajectory
from ntm.truth import gaussian_chain, named

_CONFIG = pathlib.Path(__file__).parents[1] / "configs" / "grid25.py"
_STEPS = (1, 2, 4, 8, 16)
_AFFINE = ("features=0", "spline_bins=0", "spline_range=4.0")
# Name: (what it is, changed keys of config.model.transporter).
_KINDS = {
    "gaussian": ("no transporter: Gaussian steps", (*_AFFINE, "num_blocks=0")),
    "affine": ("two affine blocks", (*_AFFINE, "num_blocks=2")),
    "spline": ("two spline blocks", ("features=0", "num_blocks=2")),
    "T4": ("one spline block with features: the config", ()),
}
_LIMIT = 1.45  # Of both axes of the panels.


def main():
  """Runs what is missing, prints the tables and draws the pictures."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--results", type=pathlib.Path, required=True, help="folder of all runs")
  parser.add_argument("--pictures", type=pathlib.Path, help="folder of the pictures; default: "
                      "RESULTS")
  parser.add_argument("--num_steps", nargs="*", type=int, choices=_STEPS, default=_STEPS,
                      help="T to train for; all by default")
  parser.add_argument("--quick", action="store_true", help="10 updates and 300 samples of three "
                      "runs, to see that it runs")
  args = parser.parse_args()
  args.results.mkdir(parents=True, exist_ok=True)
  keys = {name: [f"model.transporter.{change}" for change in changes]
          for name, (_, changes) in _KINDS.items()}
  keys |= {f"T{steps}": [f"process.num_steps=({steps},)"] for steps in (4, *args.num_steps)}
  names = ("gaussian", "T1", "T4") if args.quick else keys
  runs = {name: run(args.results / name, keys[name], args.quick) for name in names}
  chain = {steps: gaussian_kl(args.results / "T4", steps) for steps in _STEPS}
  print_kinds(runs, chain[4])
  print_steps(runs, chain)
  pictures = args.pictures or args.results
  pictures.mkdir(parents=True, exist_ok=True)
  draw_samples(args.results, runs, pictures / "grid25.png")
  draw_steps(runs, chain, pictures / "grid25_steps.png")


def run(workdir: pathlib.Path, changes: list[str], quick: bool) -> dict:
  """Trains and measures a run, or reads what was measured."""
  path, count = workdir.with_suffix(".json"), 20_000
  if quick:
    changes, count = [*changes, "train.steps=10", "optimizer.warmup_steps=2"], 300
  if not path.exists():
    subprocess.run([sys.executable, "-m", "ntm.commands.main", "train", f"--config={_CONFIG}",
                    f"--workdir={workdir}", *(f"--config.{change}" for change in changes)],
                   check=True)
    samples_BD, found = measure(workdir, count)
    np.save(workdir.with_suffix(".npy"), samples_BD)
    path.write_text(json.dumps({"changes": changes} | found, indent=2) + "\n")
  result = json.loads(path.read_text())
  if result["changes"] != changes:
    raise SystemExit(f"{path} is of {result['changes']}, not {changes}; choose another --results.")
  return result


def measure(workdir: pathlib.Path, count: int) -> tuple[np.ndarray, dict]:
  """(samples, figures against the truth) of a run."""
  model = ntm.restore(workdir)
  config, (rng_x, rng_sample) = model.config, jax.random.split(jax.random.key(0))
  mixture, level = named.build(config.data, config.model.image_shape), config.process.t_min
  samples_BD = model.sample(rng_sample, num_samples=count, refine=None).reshape(count, -1)
  _, test, _ = pipeline.evaluation_data(config, count)
  found, _ = truth.divergence(model, rng_x, mixture, test["image"], None, None, draws=1)
  return samples_BD, found | truth.sample_metrics(mixture, samples_BD, level) | {
      "parameters": sum(leaf.size for leaf in jax.tree.leaves(model.params))}


def gaussian_kl(workdir: pathlib.Path, steps: int, count: int = 20_000) -> tuple[float, float]:
  """Divergence of the best Gaussian chain on the data of a run, and its standard error."""
  config = ntm.restore(workdir).config
  mixture = named.build(config.data, config.model.image_shape)
  with jax.enable_x64(True):
    times_K = schedule.uniform_times(steps, config.process.t_min)
    x_KBD = trajectory.sample_trajectory(
        jax.random.key(0), jnp.asarray(truth.draw(0, mixture, count, 0.0)), times_K)
    kl_B = np.asarray(gaussian_chain.log_ratios(mixture, x_KBD, times_K).sum(axis=0))
  return float(kl_B.mean()), float(kl_B.std() / count ** 0.5)


def print_kinds(runs: dict, chain: tuple[float, float]) -> None:
  """A row per kind of step, T = 4."""
  print("| T = 4 | parameters | KL to the truth, nats | of the cleanest step | in a mode |\n"
        "|---|---|---|---|---|")
  for name, (what, _) in _KINDS.items():
    if row := runs.get(name):
      print(f"| {what} | {row['parameters']:,} | {_nats(row)} | {row['kl_per_step'][0]:.3f} | "
            f"{row['in_mode_share']:.1%} |")
  print(f"| the best Gaussian chain | | {_plus_minus(*chain)} | "
        f"{runs['T4']['gaussian_kl_per_step'][0]:.3f} | |\n")


def print_steps(runs: dict, chain: dict) -> None:
  """A column per T."""
  rows = {steps: runs.get(f"T{steps}") for steps in chain}
  cells = lambda text: " | ".join(text(row) if row else "not trained" for row in rows.values())
  print(f"| KL to the truth, nats | {' | '.join(f'T = {steps}' for steps in rows)} |\n"
        f"|{'---|' * (len(rows) + 1)}")
  print(f"| the best Gaussian chain | {' | '.join(_plus_minus(*kl) for kl in chain.values())} |")
  print(f"| NTM | {cells(_nats)} |")
  print(f"| NTM, samples in a mode | {cells(lambda row: format(row['in_mode_share'], '.1%'))} |")


def draw_samples(results: pathlib.Path, runs: dict, path: pathlib.Path) -> None:
  """Exact draws, Gaussian steps and NTM, side by side."""
  count = len(samples_BD := np.load(results / "T4.npy"))
  config = ntm.restore(results / "T4").config
  exact_BD = truth.draw(0, named.build(config.data, config.model.image_shape), count,
                        config.process.t_min)
  panels = (("exact draws", exact_BD, "KL 0 nats"),
            ("four Gaussian steps", np.load(results / "gaussian.npy"),
             f"KL {_nats(runs['gaussian'])} nats"),
            ("NTM, four steps", samples_BD, f"KL {_nats(runs['T4'])} nats"))
  figure = Figure(figsize=(9.6, 3.75), layout="constrained")
  FigureCanvasAgg(figure)
  for axes, (title, x_BD, below) in zip(figure.subplots(1, 3), panels):
    axes.plot(*x_BD.T, ".", markersize=1.6, markeredgewidth=0, alpha=0.5, color="#1f4e79",
              rasterized=True)
    axes.set(xlim=(-_LIMIT, _LIMIT), ylim=(-_LIMIT, _LIMIT), aspect="equal", xticks=[], yticks=[])
    axes.set_title(title, fontsize=13)
    axes.set_xlabel(below, fontsize=13)
    for spine in axes.spines.values():
      spine.set_color("0.7")
  figure.savefig(path, dpi=150)


def draw_steps(runs: dict, chain: dict, path: pathlib.Path) -> None:
  """Divergence from the truth over T."""
  figure = Figure(figsize=(5.6, 3.8), layout="constrained")
  FigureCanvasAgg(figure)
  axes = figure.subplots()
  trained = {steps: _kl(runs[f"T{steps}"]) for steps in chain if f"T{steps}" in runs}
  for points, label, color, form in (
      (chain, "the best Gaussian chain", "#b5541c", "o-"),
      ({4: _kl(runs["gaussian"])}, "trained Gaussian steps", "#b5541c", "x"),
      (trained, "NTM", "#1f4e79", "o-")):
    values, errors = zip(*points.values())
    axes.errorbar(list(points), values, errors, fmt=form, markersize=5 if form == "o-" else 11,
                  capsize=3, label=label, color=color)
  axes.set(xscale="log", yscale="log", xlabel="steps T", ylabel="KL to the truth, nats")
  axes.set_xticks(list(chain), map(str, chain))
  axes.yaxis.set_major_formatter("{x:g}")
  axes.minorticks_off()
  axes.grid(alpha=0.3)
  axes.legend(loc="center left")
  figure.savefig(path, dpi=130)


def _kl(row):
  return row["kl_to_truth_nats"], row["kl_to_truth_standard_error"]


def _nats(row):
  return _plus_minus(*_kl(row))


def _plus_minus(value, error):
  return f"{value:.3f} ± {error:.3f}"


if __name__ == "__main__":
  main()
