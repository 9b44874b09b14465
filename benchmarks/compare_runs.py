"""Learning curves of several runs in one picture:

  python benchmarks/compare_runs.py runs/a runs/b --metric=held_out/nats_per_dim --picture=c.png
"""

import argparse
import json
import pathlib

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def main():
  """Draws the curves and prints where each ends."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("workdirs", nargs="+", type=pathlib.Path)
  parser.add_argument("--metric", default="train/nats_per_dim", help="a key of metrics.jsonl")
  parser.add_argument("--picture", type=pathlib.Path, required=True)
  args = parser.parse_args()
  figure = Figure(figsize=(6, 4), layout="constrained")
  FigureCanvasAgg(figure)
  axes = figure.subplots()
  curves = []
  for workdir in args.workdirs:
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    points = [(line["step"], line[args.metric]) for line in lines if args.metric in line]
    if not points:
      raise SystemExit(f"{workdir} has no {args.metric}; its keys are {sorted(lines[-1])}.")
    curves.append(points)
    axes.plot(*zip(*points), label=workdir.name)
    print(f"{workdir.name:30} step {points[-1][0]:6}   {points[-1][1]:.4f}")
  # The first steps are far above all that matters later.
  late = [value for points in curves for _, value in points[len(points) // 5:]]
  margin = 0.05 * (max(late) - min(late))
  axes.set(xlabel="update", ylabel=args.metric, ylim=(min(late) - margin, max(late) + margin))
  axes.legend()
  figure.savefig(args.picture, dpi=120)


if __name__ == "__main__":
  main()
