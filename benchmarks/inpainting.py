"""Completing digits by the likelihood: python benchmarks/inpainting.py --workdir=runs/digits

The lower half of test digits is hidden and found by gradient steps from noise
(`ntm.likelihood.editing`), once with the trajectory likelihood and once without
it; the label is not given. Prints how many of the completed digits the
evaluation classifier recognises, and writes a picture: real, hidden, completed
without and with the likelihood, one digit a column.
"""

import argparse
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import result_file

import ntm
from ntm.data import pipeline
from ntm.evaluation.classifier import Classifier
from ntm.likelihood import editing
from ntm.models import build
from ntm.process import schedule
from ntm.sampling import pictures
from ntm.typing import Condition


def main():
  """Prints the accuracies and writes the picture."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--workdir", required=True)
  parser.add_argument("--count", type=int, default=100, help="test digits")
  parser.add_argument("--steps", type=int, default=100, help="gradient steps at every level")
  parser.add_argument("--step_size", type=float, default=0.05)
  parser.add_argument("--picture", type=pathlib.Path)
  result_file.add_flag(parser)
  args = parser.parse_args()
  restored = ntm.restore(args.workdir)
  config = restored.config
  train, test, _ = pipeline.evaluation_data(config, 10_000)
  images, labels = test["image"][:args.count], test["label"][:args.count]
  hidden = np.ones_like(images)
  hidden[:, images.shape[1] // 2:] = 0
  patches = build.patches(config.model)
  tokens = lambda a: patches.to_tokens(jnp.asarray(a))
  t_min = config.process.t_min
  times_K = schedule.padded_times(config.process.schedule, config.process.num_steps[0],
                                  config.process.num_steps[0], t_min, config.model.num_tokens)
  objective = editing.inpainting_objective(tokens(images), tokens(hidden), t_min)
  start = jax.random.normal(jax.random.key(1), tokens(images).shape)
  unknown = Condition(label_B=jnp.full(len(images), config.model.num_classes))
  model = Classifier.fit(train["image"], train["label"])
  rows, result = [images, images * hidden - (1 - hidden)], {
      "real": model.accuracy(images, labels),
      "lower half black": model.accuracy(images * hidden - (1 - hidden), labels)}
  for name, weight in (("without likelihood", 0.0), ("with likelihood", 1.0)):
    x = editing.edit(jax.random.key(2), build.ntm(config), restored.params, start, objective,
                     times_K, unknown, steps=args.steps, step_size=args.step_size, weight=weight)
    completed = np.asarray(patches.to_images(x))
    completed = completed.clip(-1, 1)
    rows.append(completed)
    result[name] = model.accuracy(completed, labels)
  for name, accuracy in result.items():
    print(f"{name:22} accuracy {accuracy:.3f}")
  if args.picture:
    pictures.save(args.picture, pictures.grid(np.stack([row[:12] for row in rows])))
  if args.json:
    args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
  main()
