"""Few-step samplers side by side: python benchmarks/few_steps.py --fm=runs/digits_fm --ntm=...

Samples of a flow-matching model by every solver, and of NTMs with and without
score refinement, judged by one classifier of the data: Fréchet distance, class
accuracy, precision and recall, with network evaluations and images/s. Samples
have uniform labels and no guidance. Images/s are of one call after one to
compile; only their ratios mean something on a shared machine.
"""

import argparse
import json
import pathlib
import time

import jax
import numpy as np
import result_file

import ntm
from ntm.commands import memory_allocator
from ntm.data import pipeline
from ntm.evaluation import sample_metrics
from ntm.sampling import ode

_FLOW_MATCHING = ([("euler", n) for n in (1, 2, 4, 8, 16, 50)]
                  + [(solver, n) for solver in ("heun", "dpm++") for n in (4, 8)]
                  + [("gaussian", n) for n in (4, 16, 50)])


def main():
  """Prints the table and writes the JSON."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--fm", required=True, help="workdir of the flow-matching model")
  parser.add_argument("--ntm", nargs="*", default=[], help="workdirs of NTMs")
  parser.add_argument("--num_samples", type=int, default=2000)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--quick", action="store_true", help="100 samples, to see that it runs")
  result_file.add_flag(parser)
  args = parser.parse_args()
  count = 100 if args.quick else args.num_samples
  model = ntm.restore(args.fm)
  config = model.config
  train, test, _ = pipeline.evaluation_data(config, 10_000)
  reference = sample_metrics.Reference.fit(train["image"], train["label"])
  rows = {"real test images": reference.metrics(test["image"], test["label"])}
  for solver, steps in _FLOW_MATCHING:
    rows[f"flow matching, {solver} {steps}"] = measure(
        reference, model, args.seed, count, ode.evaluations(solver, steps), num_steps=steps,
        solver=solver)
  for workdir in args.ntm:
    model = ntm.restore(workdir)
    steps = model.config.process.num_steps[0]
    for refine in (None, "score"):
      name = f"{pathlib.Path(workdir).name} {steps}{', refined' if refine else ''}"
      rows[name] = measure(reference, model, args.seed, count, steps, refine=refine)
  print(f"\n{'':34} {'evaluations':>11} {'Fréchet':>8} {'accuracy':>8} {'precision':>9} "
        f"{'recall':>6} {'images/s':>8}")
  for name, row in rows.items():
    print(f"{name:34} {row.get('evaluations', ''):>11} {row['frechet_distance']:8.3f} "
          f"{row['class_accuracy']:8.1%} {row['precision']:9.3f} {row['recall']:6.3f} "
          f"{row.get('images_per_second', float('nan')):8.0f}")
  if args.json:
    result = {"device": jax.devices()[0].device_kind, "num_samples": count, "rows": rows}
    args.json.write_text(json.dumps(result, indent=2) + "\n")


def measure(reference, model, seed, count, evaluations, **how):
  """Figures of one way to sample."""
  labels = np.arange(count) % model.config.model.num_classes
  rng = jax.random.key(seed)
  model.sample(rng, labels, **how)  # Compiles.
  started = time.perf_counter()
  images = model.sample(rng, labels, **how)
  seconds = time.perf_counter() - started
  return reference.metrics(images, labels) | {
      "evaluations": evaluations, "images_per_second": count / seconds}


if __name__ == "__main__":
  memory_allocator.keep_freed_memory()
  main()
