"""A number of steps per class: python benchmarks/adaptive_steps.py --workdir=runs/digits_multi_step

Of a model of several T, the bound on the log-likelihood of an image (`Model.log_weights`) says for
every class what more steps are worth, in nats. Under a budget of evaluations per image, classes
are given more steps one after another, where an evaluation gains most. Compared with the same
numbers of steps given to classes at random, and with one T for all: Fréchet distance to the
training images and class accuracy of raw samples.
"""

import argparse
import json

import jax
import numpy as np
import result_file
from scipy.special import logsumexp

import ntm
from ntm.commands import memory_allocator
from ntm.data import pipeline
from ntm.evaluation import sample_metrics


def main():
  """Prints the tables and writes the JSON."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--workdir", required=True, help="of a class-conditional NTM of several T")
  parser.add_argument("--budgets", nargs="*", type=float, default=[6, 8, 12],
                      help="evaluations per image")
  parser.add_argument("--num_samples", type=int, default=2000)
  parser.add_argument("--draws", type=int, default=8, help="weights per image")
  parser.add_argument("--images", type=int, default=1000, help="that a bound is a mean over")
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--quick", action="store_true", help="60 samples, to see that it runs")
  result_file.add_flag(parser)
  args = parser.parse_args()
  model = ntm.restore(args.workdir)
  steps_T, classes = sorted(model.config.process.num_steps), model.config.model.num_classes
  if len(steps_T) < 2 or not classes:
    parser.error(f"{args.workdir} has process.num_steps={model.config.process.num_steps} and "
                 f"{classes} classes; expected a model of several T and of classes.")
  count, draws, images = ((60, 1, 60) if args.quick
                          else (args.num_samples, args.draws, args.images))
  train, _, _ = pipeline.evaluation_data(model.config, 10_000)
  reference = sample_metrics.Reference.fit(train["image"], train["label"])
  bound_TC = bounds(model, args.seed, train, steps_T, images, draws)
  print("Bound in nats per image, by class:")
  for steps, bound_C in zip(steps_T, bound_TC):
    print(f"  T = {steps:2}   {'  '.join(f'{value:7.2f}' for value in bound_C)}   "
          f"mean {bound_C.mean():.2f}")
  labels = np.arange(count) % classes
  samples_T = {steps: model.sample(jax.random.key(args.seed), labels, num_steps=steps, refine=None)
               for steps in steps_T}
  ways = {f"T = {steps}": np.full(classes, steps) for steps in steps_T}
  for budget in args.budgets:
    chosen_C = allocate(bound_TC, steps_T, budget)
    ways[f"budget {budget:g}, by likelihood"] = chosen_C
    ways[f"budget {budget:g}, at random"] = np.random.default_rng(args.seed).permutation(chosen_C)
  rows = {}
  print("| | T of the classes | evaluations | Fréchet | accuracy |\n|---|---|---|---|---|")
  for name, chosen_C in ways.items():
    drawn = np.stack([samples_T[chosen_C[label]][i] for i, label in enumerate(labels)])
    rows[name] = reference.metrics(drawn, labels) | {"steps": chosen_C.tolist()}
    print(f"| {name} | {' '.join(map(str, chosen_C))} | {chosen_C[labels].mean():.2f} | "
          f"{rows[name]['frechet_distance']:.3f} ± {rows[name]['frechet_standard_error']:.3f} | "
          f"{rows[name]['class_accuracy']:.1%} |")
  if args.json:
    args.json.write_text(json.dumps({"rows": rows, "bounds": bound_TC.tolist()}, indent=2) + "\n")


def bounds(model, seed: int, train, steps_T, images: int, draws: int) -> np.ndarray:
  """log of the mean weight, averaged over the images of each class, [T, classes], in nats."""
  image, label = train["image"][:images], train["label"][:images]
  rows = []
  for steps in steps_T:
    weight_JB = model.log_weights(jax.random.key(seed), image, label, steps, draws)
    bound_B = logsumexp(weight_JB, axis=0) - np.log(draws)
    rows.append([bound_B[label == c].mean() for c in range(model.config.model.num_classes)])
  return np.array(rows)


def allocate(bound_TC: np.ndarray, steps_T: list[int], budget: float) -> np.ndarray:
  """T of every class: greedily the largest gain per evaluation, as long as the mean allows it."""
  classes = bound_TC.shape[1]
  level_C = np.zeros(classes, int)
  steps = np.array(steps_T)
  while True:
    gains = {c: (bound_TC[level_C[c] + 1, c] - bound_TC[level_C[c], c])
                / (steps[level_C[c] + 1] - steps[level_C[c]])
             for c in range(classes) if level_C[c] + 1 < len(steps)
             and steps[level_C].sum() + steps[level_C[c] + 1] - steps[level_C[c]]
             <= budget * classes}
    if not gains or max(gains.values()) <= 0:
      return steps[level_C]
    level_C[max(gains, key=gains.get)] += 1


if __name__ == "__main__":
  memory_allocator.keep_freed_memory()
  main()
