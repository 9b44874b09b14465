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
import pathlib

import known_truth
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import ntm
from ntm.evaluation import truth
from ntm.truth import named

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
  runs = {name: known_truth.run(_CONFIG, args.results / name, keys[name], args.quick)
          for name in names}
  chain = {steps: known_truth.gaussian_kl(args.results / "T4", steps) for steps in _STEPS}
  print_kinds(runs, chain[4])
  print_steps(runs, chain)
  pictures = args.pictures or args.results
  pictures.mkdir(parents=True, exist_ok=True)
  draw_samples(args.results, runs, pictures / "grid25.png")
  draw_steps(runs, chain, pictures / "grid25_steps.png")


def print_kinds(runs: dict, chain: tuple[float, float]) -> None:
  """A row per kind of step, T = 4."""
  print("| T = 4 | parameters | KL to the truth, nats | of the cleanest step | in a mode |\n"
        "|---|---|---|---|---|")
  for name, (what, _) in _KINDS.items():
    if row := runs.get(name):
      print(f"| {what} | {row['parameters']:,} | {known_truth.nats(row)} | "
            f"{row['kl_per_step'][0]:.3f} | {row['in_mode_share']:.1%} |")
  print(f"| the best Gaussian chain | | {known_truth.plus_minus(*chain)} | "
        f"{runs['T4']['gaussian_kl_per_step'][0]:.3f} | |\n")


def print_steps(runs: dict, chain: dict) -> None:
  """A column per T."""
  rows = {steps: runs.get(f"T{steps}") for steps in chain}
  cells = lambda text: " | ".join(text(row) if row else "not trained" for row in rows.values())
  print(f"| KL to the truth, nats | {' | '.join(f'T = {steps}' for steps in rows)} |\n"
        f"|{'---|' * (len(rows) + 1)}")
  print(f"| the best Gaussian chain | "
        f"{' | '.join(known_truth.plus_minus(*kl) for kl in chain.values())} |")
  print(f"| NTM | {cells(known_truth.nats)} |")
  print(f"| NTM, samples in a mode | {cells(lambda row: format(row['in_mode_share'], '.1%'))} |")


def draw_samples(results: pathlib.Path, runs: dict, path: pathlib.Path) -> None:
  """Exact draws, Gaussian steps and NTM, side by side."""
  count = len(samples_BD := np.load(results / "T4.npy"))
  config = ntm.restore(results / "T4").config
  exact_BD = truth.draw(0, named.build(config.data, config.model.image_shape), count,
                        config.process.t_min)
  panels = (("exact draws", exact_BD, "KL 0 nats"),
            ("four Gaussian steps", np.load(results / "gaussian.npy"),
             f"KL {known_truth.nats(runs['gaussian'])} nats"),
            ("NTM, four steps", samples_BD, f"KL {known_truth.nats(runs['T4'])} nats"))
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
  trained = {steps: known_truth.kl(runs[f"T{steps}"]) for steps in chain if f"T{steps}" in runs}
  for points, label, color, form in (
      (chain, "the best Gaussian chain", "#b5541c", "o-"),
      ({4: known_truth.kl(runs["gaussian"])}, "trained Gaussian steps", "#b5541c", "x"),
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


if __name__ == "__main__":
  main()
