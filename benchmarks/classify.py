"""Classification by generative models: python benchmarks/classify.py --ntm=DIR ... --fm=DIR

Names the class of test images by Bayes' rule under an NTM, from its likelihood (`ntm likelihood
--classify`), and under flow matching, by the class whose velocity is nearest on average to
eps - x_0 at evenly spread levels, with the same noise for all classes [Li et al., 2023]; and by a
scikit-learn network that is trained to classify. An image costs as many evaluations per class as
there are draws, times T for an NTM.
"""

import argparse
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import result_file

import ntm
from ntm.commands import memory_allocator
from ntm.data import pipeline, sources
from ntm.evaluation.classifier import Classifier
from ntm.likelihood import classification
from ntm.losses import flow_matching
from ntm.models import build
from ntm.typing import Condition


def main():
  """Prints accuracies and writes the JSON."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--ntm", nargs="*", default=[], help="workdirs of NTMs of digits")
  parser.add_argument("--fm", nargs="*", default=[], help="workdirs of flow matching")
  parser.add_argument("--draws", nargs="*", type=int, default=[1, 8, 64])
  parser.add_argument("--images", type=int, default=1000, help="test images, at most")
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--quick", action="store_true", help="one draw, to see that it runs")
  result_file.add_flag(parser)
  args = parser.parse_args()
  models = {workdir: ntm.restore(workdir) for workdir in (*args.ntm, *args.fm)}
  if not models:
    parser.error("no workdirs; expected some in --ntm or --fm")
  for workdir, model in models.items():
    kind = "ntm" if workdir in args.ntm else "flow_matching"
    if model.config.model.kind != kind or not model.config.model.num_classes:
      parser.error(f"{workdir} holds a model of kind {model.config.model.kind} and "
                   f"{model.config.model.num_classes} classes; expected one of kind {kind} and of "
                   "classes")
    if model.config.data != next(iter(models.values())).config.data:
      parser.error(f"{workdir} was trained on other data than {next(iter(models))}")
  rng, rows = jax.random.key(args.seed), {}
  for workdir, model in models.items():
    train, test, _ = pipeline.evaluation_data(model.config, 10_000)
    test = {name: values[:args.images] for name, values in test.items()}
    for draws in [1] if args.quick else args.draws:
      if model.config.model.kind == "ntm":
        log_BY = classification.log_posterior(model, rng, test["image"], draws,
                                              sources.level_spacing(model.config.data))
        row = classification.summary(log_BY, test["label"])
        row["evaluations"] = draws * model.config.process.num_steps[0]
      else:
        row = accuracy(errors(model, rng, test["image"], draws).argmin(axis=1), test["label"])
        row["evaluations"] = draws
      rows[f"{pathlib.Path(workdir).name}, {draws}"] = row
      print(f"{workdir}, {draws} draws: {row['accuracy']:.1%}", flush=True)
  classifier = Classifier.fit(train["image"], train["label"])
  right = classifier.accuracy(test["image"], test["label"])
  rows["trained to classify"] = {"accuracy": right, "accuracy_standard_error":
                                 (right * (1 - right) / len(test["label"])) ** 0.5}
  print("| | evaluations per class | accuracy | nats per image |\n|---|---|---|---|")
  for name, row in rows.items():
    nats = f"{row['nats_per_image']:.3f}" if "nats_per_image" in row else ""
    print(f"| {name} | {row.get('evaluations', '')} | {row['accuracy']:.1%} ± "
          f"{row['accuracy_standard_error']:.1%} | {nats} |")
  if args.json:
    args.json.write_text(json.dumps(rows, indent=2) + "\n")


def errors(model, rng, images: np.ndarray, draws: int) -> np.ndarray:
  """Mean squared error of the velocity under every class, [B, Y]."""
  network = build.velocity(model.config)
  x0_BNC = build.patches(model.config.model).to_tokens(images)

  @jax.jit
  def of_class(label, key, time):
    cond = Condition(label_B=jnp.full(len(images), label)).at(jnp.full(len(images), time))
    return flow_matching.errors(key, network, model.params, x0_BNC, cond)

  mean_of = lambda label: np.mean([of_class(label, key, (i + 0.5) / draws)
                                   for i, key in enumerate(jax.random.split(rng, draws))], axis=0)
  return np.stack([mean_of(label) for label in range(model.config.model.num_classes)], axis=1)


def accuracy(found_B: np.ndarray, label_B: np.ndarray) -> dict[str, float]:
  """Share of right classes and its standard error."""
  right = float((found_B == label_B).mean())
  return {"accuracy": right,
          "accuracy_standard_error": (right * (1 - right) / len(label_B)) ** 0.5}


if __name__ == "__main__":
  memory_allocator.keep_freed_memory()
  main()
