"""Distance over evaluations, from the rows of benchmarks/endless.py:

  python benchmarks/endless_figure.py docs/measurements/endless_h100.jsonl --picture=endless.png \
    --panel flow_matching gaussian affine both_deep \
    --panel flow_matching_6k affine_6k both_deep_6k

One panel per group of recipes. Recipes of flow matching are lines, one per solver; NTMs are points
at their number of steps, the lower of raw and refined. Recipes whose names differ only in an ending
such as _6k look alike. Bars are two standard errors: over the seeds, or of the samples where there
is one seed.
"""

import argparse
import collections
import json
import pathlib
import re

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_SOLVERS = {"euler": "Euler", "heun": "Heun", "dpm++": "DPM-Solver++(2M)"}
_MARKERS = ("s", "D", "^", "v", "P", "*")
_TICKS = {"x": (1, 2, 4, 8, 16, 50), "y": (0.25, 0.5, 1, 2, 4, 8, 16, 32)}


def main():
  """Draws the panels."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("rows", nargs="+", type=pathlib.Path, help="files results.jsonl")
  parser.add_argument("--panel", nargs="+", action="append", required=True, metavar="RECIPE",
                      help="recipes of one panel; once per panel")
  parser.add_argument("--picture", type=pathlib.Path, required=True, help="PNG to write")
  args = parser.parse_args()
  groups = collections.defaultdict(list)
  for path in args.rows:
    for line in path.read_text().splitlines():
      row = json.loads(line)
      groups[row["recipe"], row["sampler"]].append(row)
  known = {recipe for recipe, _ in groups}
  if unknown := [name for panel in args.panel for name in panel if name not in known]:
    raise SystemExit(f"--panel names {unknown}; the rows have {sorted(known)}.")
  figure = Figure(figsize=(4.8 * len(args.panel), 4), layout="constrained")
  FigureCanvasAgg(figure)
  looks = {}
  for name in (name for panel in args.panel for name in panel):
    number = len(looks)
    looks.setdefault(kind(name), {"marker": _MARKERS[number % 6], "color": f"C{number + 3}"})
  for axes, panel in zip(figure.subplots(1, len(args.panel), sharey=True, squeeze=False)[0],
                         args.panel):
    draw(axes, groups, panel, looks)
  figure.savefig(args.picture, dpi=120)


def kind(recipe: str) -> str:
  """The name without the number of updates."""
  return re.sub(r"_\d+k$", "", recipe)


def draw(axes, groups, recipes, looks):
  """One panel: distance over evaluations, both logarithmic."""
  updates = set()
  for recipe in recipes:
    samplers = {sampler: rows for (name, sampler), rows in groups.items() if name == recipe}
    updates |= {row["updates"] for rows in samplers.values() for row in rows}
    lines, points = collections.defaultdict(list), []
    for sampler, rows in samplers.items():
      solver = sampler.split()[0]
      (lines[solver] if solver in _SOLVERS else points).append(
          (rows[0]["evaluations"], *mean_and_error(rows)))
    for solver, line in lines.items():
      count, mean, error = zip(*sorted(line))
      axes.errorbar(count, mean, 2 * np.array(error), marker="o", markersize=4, linewidth=1,
                    label=f"flow matching, {_SOLVERS[solver]}")
    if points:
      count, mean, error = min(points, key=lambda point: point[1])
      axes.errorbar([count], [mean], [2 * error], **looks[kind(recipe)], markersize=8,
                    linestyle="none", label=f"NTM, {kind(recipe).replace('_', ' ')}")
  if real := groups.get(("fresh draws", "")):
    axes.axhline(mean_and_error(real)[0], color="gray", linestyle=":", label="fresh real draws")
  axes.set(xscale="log", yscale="log", xlabel="evaluations of the network",
           title=f"{', '.join(f'{count:,}' for count in sorted(updates))} updates")
  axes.set_xticks(_TICKS["x"], _TICKS["x"])
  axes.set_yticks(_TICKS["y"], _TICKS["y"])
  axes.minorticks_off()
  axes.grid(alpha=0.3)
  axes.legend(fontsize=7)
  if axes.get_subplotspec().is_first_col():
    axes.set_ylabel("Fréchet distance")


def mean_and_error(rows) -> tuple[float, float]:
  """(mean over the seeds, its standard error)."""
  values = [row["frechet_distance"] for row in rows]
  error = (np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1
           else rows[0]["frechet_standard_error"])
  return float(np.mean(values)), float(error)


if __name__ == "__main__":
  main()
