"""The best of n samples: python benchmarks/best_of_n.py --workdir=runs/digits

Draws n samples for one and keeps the one of largest trajectory likelihood, the most typical one
(`ntm.likelihood.anomaly`), or the first, which is a random one. Kept samples are compared with the
training images in the features of a small classifier. Samples are raw, of uniform labels, and
scored under their labels, clipped to [-1, 1]; the cost is n samples and n scorings for one.
"""

import argparse
import json
import time

import jax
import numpy as np
import result_file

import ntm
from ntm.commands import memory_allocator
from ntm.data import pipeline
from ntm.evaluation import sample_metrics
from ntm.likelihood import anomaly, estimates

_TYPICAL = 2000  # Training images behind what is typical.


def main():
  """Prints the table and writes the JSON."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--workdir", required=True, help="of a class-conditional NTM of small images")
  parser.add_argument("--num_samples", type=int, default=2000, help="that are kept")
  parser.add_argument("--most", type=int, default=8, help="largest n, which is doubled from 2 on")
  parser.add_argument("--draws", type=int, default=4, help="trajectories behind a score")
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--quick", action="store_true", help="60 samples, to see that it runs")
  result_file.add_flag(parser)
  args = parser.parse_args()
  model = ntm.restore(args.workdir)
  if model.config.model.kind != "ntm" or not model.config.model.num_classes:
    parser.error(f"{args.workdir} holds a model of kind {model.config.model.kind} and "
                 f"{model.config.model.num_classes} classes; expected an NTM of classes")
  count, draws = (60, 1) if args.quick else (args.num_samples, args.draws)
  train, test, _ = pipeline.evaluation_data(model.config, 10_000)
  reference = sample_metrics.Reference.fit(train["image"], train["label"])
  labels = np.arange(count) % model.config.model.num_classes
  images, seconds = candidates(model, args.seed, labels, args.most)
  score = score_of(model, train, draws)
  started = time.perf_counter()
  found = score(images.reshape(-1, *images.shape[2:]).clip(-1, 1), np.tile(labels, args.most))
  scoring = (time.perf_counter() - started) / (seconds or 1)
  rows = {"real test images": reference.metrics(test["image"], test["label"]),
          "random": reference.metrics(images[0], labels)}
  n = 2
  while n <= args.most:
    for name, values in found.items():
      chosen = values.reshape(args.most, count)[:n].argmin(axis=0)
      rows[f"best of {n} by {name}"] = reference.metrics(images[chosen, np.arange(count)], labels)
    n *= 2
  keys = ("frechet_distance", "frechet_standard_error", "class_accuracy", "precision", "recall")
  print(f"{count} samples; scoring takes {scoring:.2f} times as long as sampling.\n"
        f"| | {' | '.join(key.replace('_', ' ') for key in keys)} |\n|{'---|' * (len(keys) + 1)}")
  for name, row in rows.items():
    print(f"| {name} | {' | '.join(f'{row[key]:.3f}' for key in keys)} |")
  if args.json:
    args.json.write_text(json.dumps({"rows": rows, "scoring_over_sampling": scoring}, indent=2))


def candidates(model, seed: int, labels: np.ndarray, most: int) -> tuple[np.ndarray, float]:
  """(`most` samples per label, [most, count, *image_shape]; seconds after compilation)."""
  key = jax.random.key(seed)
  model.sample(key, labels, refine=None)  # Compiles.
  started = time.perf_counter()
  images = np.stack([model.sample(jax.random.fold_in(key, i), labels, refine=None)
                     for i in range(most)])
  return images, time.perf_counter() - started


def score_of(model, train, draws: int):
  """(images, labels) → {name: [M]}, lower is better: -log p, and how far it is from typical."""
  rng_typical, rng = jax.random.split(jax.random.key(1))
  steps = lambda rng, images, labels: estimates.step_log_prob(model, rng, images, labels, None,
                                                              draws)
  typical_SB = steps(rng_typical, train["image"][:_TYPICAL], train["label"][:_TYPICAL])
  return lambda images, labels: anomaly.scores(steps(rng, images, labels), typical_SB)


if __name__ == "__main__":
  memory_allocator.keep_freed_memory()
  main()
