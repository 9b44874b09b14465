"""What a middle step needs, on drawn glyphs of known density.

  python benchmarks/templates.py --results=runs/templates_compared

Trains configs/templates.py with transporters of several kinds, one model without, and flow
matching, each in a workdir of its own, `RESULTS/NAME`, with equally many noisy states per update
and about as many layers. What is done is not done again, and an interrupted training resumes.
Every run is measured on 5,000 samples and as many exact trajectories; a line of
`RESULTS/results.jsonl` per model and way to sample it, from which `benchmarks/tables.py` makes the
table of docs/truth.md. One run each, seed 0.
"""

import argparse
import json
import pathlib

import known_truth

from ntm.sampling import ode

_CONFIG = pathlib.Path(__file__).parents[1] / "configs" / "templates.py"
_COUNT = 5_000
KINDS = {  # {name: changed keys of config.model}
    "gaussian": ("transporter.features=0", "transporter.spline_bins=0", "transporter.num_blocks=0",
                 "predictor.layers=6", "unroll=6"),
    "affine": ("transporter.features=0", "transporter.spline_bins=0", "transporter.num_blocks=4",
               "transporter.layers=1"),
    "splines": ("transporter.features=0",),
    "features": ("transporter.spline_bins=0",),
    "both": (),
    "in_order": ("transporter.autoregressive_channels=True",),
    "flow_matching": ("kind=flow_matching", "transporter.features=0", "transporter.spline_bins=0",
                      "predictor.layers=6", "unroll=6"),
}
_SAMPLERS = {f"{solver} {steps}": {"solver": solver, "num_steps": steps} for solver, steps in (
    ("euler", 4), ("euler", 8), ("euler", 50), ("heun", 4), ("dpm++", 4), ("dpm++", 8))}


def main():
  """Runs what is missing and writes the rows."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--results", type=pathlib.Path, required=True, help="folder of all runs")
  parser.add_argument("--models", nargs="*", choices=list(KINDS), default=list(KINDS),
                      help="all by default")
  parser.add_argument("--quick", action="store_true", help="10 updates and 300 samples, to see "
                      "that it runs")
  args = parser.parse_args()
  args.results.mkdir(parents=True, exist_ok=True)
  rows = []
  for name in args.models:
    changes = [f"model.{change}" for change in KINDS[name]]
    how = {}
    if name == "flow_matching":
      changes, how = [*changes, "train.batch_size=128"], _SAMPLERS
    run = known_truth.run(_CONFIG, args.results / name, changes, args.quick, _COUNT, how)
    found = run.pop("samplers", {"4 steps": {}})
    for sampler, figures in found.items():
      evaluations = ode.evaluations(**how[sampler]) if how else 4
      rows.append({"model": name, "sampler": sampler, "evaluations": evaluations} | run | figures)
      print(f"{name:13} {sampler:8} " + "   ".join(
          f"{key} {rows[-1][key]:.3f}" for key in ("kl_to_truth_nats", "in_mode_share",
                                                   "mode_weight_total_variation")
          if key in rows[-1]), flush=True)
  (args.results / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
  main()
