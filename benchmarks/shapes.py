"""Models that read captions compared: python benchmarks/shapes.py --results=runs/shapes_compared

Trains an NTM of four steps, one without transporter (all steps Gaussian), flow matching, and an NTM
that starts from it on the built-in scenes, each by `ntm train` in `RESULTS/MODEL-SEED`, and samples
each in several ways.
Every way gives a line of `RESULTS/results.jsonl`, the means of which `--table` prints: the shares
of pictures that show what their caption says, by category; the Fréchet distance to fresh pictures;
the likelihood of held-out ones. `--picture` draws samples of all models to the same captions.

All from scratch see as many noisy pictures per update: those of an image at four levels, or of four
images at one. What is done is not done again, and an interrupted training resumes.
"""

import argparse
import collections
import pathlib
import re
import subprocess
import sys
import textwrap
import time

import endless
import jax
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import ntm
from ntm.data import captions, pipeline
from ntm.data.scenes import CATEGORIES, Scenes
from ntm.evaluation import sample_metrics
from ntm.evaluation import scenes as scorer
from ntm.likelihood import estimates

_CONFIGS = pathlib.Path(__file__).parents[1] / "configs"
_QUICK = "train.steps=4 optimizer.warmup_steps=2 train.sample_every=100"
MODELS = {  # {name: (config, what differs from it)}
    "ntm": ("shapes_t2i.py", ""),
    # As many layers in all; the transporter's are added to the predictor.
    "gaussian": ("shapes_t2i.py", "model.transporter.num_blocks=0 "
                 "model.transporter.features=0 model.predictor.layers=8 model.unroll=8"),
    "flow_matching": ("shapes_t2i_fm.py", ""),
    "finetuned": ("shapes_t2i_finetune.py", ""),  # From that of the same seed.
}
_NTM = {"raw": {"refine": None}, "refined": {"refine": "score"}}
_FLOW_MATCHING = {f"Euler {n}{', guidance 1' if guidance else ''}":
                  {"num_steps": n, "guidance": guidance}
                  for guidance in (0.0, 1.0) for n in (4, 8, 50)}
SAMPLERS = {"ntm": _NTM, "gaussian": _NTM, "flow_matching": _FLOW_MATCHING, "finetuned": _NTM}
_SCORED, _DRAWS = 1000, 4  # Scenes behind a likelihood, trajectories per scene.


def main():
  """Trains and judges what is missing, and prints the table."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--results", type=pathlib.Path, required=True, help="folder of all results")
  parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS),
                      help="all by default")
  parser.add_argument("--common", default="", help="'KEY=VALUE ...' of every model")
  parser.add_argument("--seeds", nargs="*", type=int, default=[0])
  parser.add_argument("--num_samples", type=int, default=1200, help="per split of captions")
  parser.add_argument("--quick", action="store_true", help="4 updates and 12 samples, to see that "
                      "it runs")
  parser.add_argument("--table", action="store_true", help="print the table alone")
  parser.add_argument("--picture", type=pathlib.Path, help="PNG to write, of the first seed")
  args = parser.parse_args()
  if not args.table:
    args.results.mkdir(parents=True, exist_ok=True)
    run(args)
  print(table(endless.read(args.results)))
  if args.picture:
    draw(args)


def run(args) -> None:
  """Trains and judges every model of every seed that has no results yet."""
  count = 12 if args.quick else args.num_samples
  done = {(row["model"], row["seed"]): row for row in endless.read(args.results)}
  missing = []
  for name, seed in ((name, seed) for seed in args.seeds for name in args.models):
    if (name, seed) not in done:
      missing.append((name, seed))
    elif (before := done[name, seed]["changes"]) != (now := changes(args, name, seed)):
      raise ValueError(f"{args.results} holds {name!r} with {before}, not {now}; choose another "
                       "folder.")
  for name, seed in missing:
    train(args, name, seed)
  if missing:
    print("fitting the classifier", flush=True)
    reference, _ = sample_metrics.scenes(32, count)
    if not done:
      real = {split: Scenes(split).examples(range(count))["image"] for split in ("test", "unseen")}
      append(args.results, [{"model": "fresh pictures", "seed": args.seeds[0], "sampler": ""}
                            | judged(real, reference)])
  for name, seed in missing:
    judge(args, name, seed, reference, count)


def train(args, name: str, seed: int) -> None:
  """Runs `ntm train` to its end, or from where it was interrupted."""
  workdir = args.results / f"{name}-{seed}"
  source = [f"finetune.source={args.results / f'flow_matching-{seed}'}"]
  print(f"training {workdir}", flush=True)
  started = time.monotonic()
  subprocess.run([sys.executable, "-m", "ntm.commands.main", "train",
                  f"--config={_CONFIGS / MODELS[name][0]}", f"--workdir={workdir}",
                  *(f"--config.{change}" for change in changes(args, name, seed)
                    + (source if name == "finetuned" else []))], check=True)
  print(f"{workdir} took {time.monotonic() - started:.0f} s", flush=True)


def changes(args, name: str, seed: int) -> list[str]:
  """What differs from the model's config, as key=value."""
  return [*MODELS[name][1].split(), *args.common.split(), *(_QUICK.split() if args.quick else ()),
          f"train.seed={seed}"]


def judge(args, name: str, seed: int, reference, count: int) -> None:
  """Adds the rows of all ways to sample a trained model."""
  model = ntm.restore(args.results / f"{name}-{seed}")
  row = {"model": name, "seed": seed, "changes": changes(args, name, seed), "updates": model.step,
         "parameters": sum(leaf.size for leaf in jax.tree.leaves(model.params))}
  if name != "flow_matching":
    row |= likelihood(model)
  rows = []
  for sampler, how in SAMPLERS[name].items():
    started = time.monotonic()
    images = {split: model.sample(jax.random.fold_in(jax.random.key(seed), i), prompts=[
        scene.caption for scene in Scenes(split).batch(range(count))[1]], **how)
              for i, split in enumerate(("test", "unseen"))}
    seconds = time.monotonic() - started
    rows.append(row | {"sampler": sampler, "seconds_per_sample": seconds / 2 / count}
                | judged(images, reference))
  append(args.results, rows)


def likelihood(model) -> dict[str, float | list[float]]:
  """Negative log-likelihood of held-out scenes, in nats per dimension."""
  _, test, _ = pipeline.evaluation_data(model.config, _SCORED)
  step_SB = estimates.step_log_prob(model, jax.random.key(0), test["image"],
                                    captions.conditions(model.config, test), None, _DRAWS)
  nll_S, error = estimates.nll_per_dim(step_SB, model.config.model.image_shape)
  return {"nll_nats_per_dim": float(nll_S.mean()), "nll_standard_error": error,
          "nll_per_step": nll_S.tolist()}


def judged(images: dict[str, np.ndarray], reference) -> dict[str, float]:
  """Shares of right pictures of both splits of captions, and the distance of those of "test"."""
  result = reference.metrics(images["test"], None)
  for split, prefix in (("test", ""), ("unseen", "unseen_")):
    _, scenes = Scenes(split).batch(range(len(images[split])))
    right = scorer.score(np.clip(images[split], -1, 1), scenes)
    result |= scorer.summary(right, scenes, prefix)
  return result


def append(results: pathlib.Path, rows) -> None:
  """Adds the rows and shows their main figures."""
  endless.append(results, rows)
  for row in rows:
    print(f"{row['model']} {row['sampler']}: {row['score']:.1%} right, Fréchet distance "
          f"{row['frechet_distance']:.3f}", flush=True)


def table(rows) -> str:
  """Means over the seeds; errors are over them, or of the samples where there is one seed."""
  groups = collections.defaultdict(list)
  for row in rows:
    groups[row["model"], row["sampler"]].append(row)
  columns = ["mean", *CATEGORIES]
  lines = [f"| model | sampler | seeds | {' | '.join(columns)} | unseen captions | Fréchet | NLL |",
           f"|{'---|' * (6 + len(columns))}"]
  for (model, sampler), group in groups.items():
    keys = ["score", *(f"score_{name.replace(' ', '_')}" for name in CATEGORIES), "unseen_score"]
    cells = [cell(group, key, f"{key}_standard_error", 100, ".1f") for key in keys]
    cells += [cell(group, "frechet_distance", "frechet_standard_error", 1, ".2f"),
              cell(group, "nll_nats_per_dim", "nll_standard_error", 1, ".4f")]
    lines.append(f"| {model} | {sampler} | {len(group)} | {' | '.join(cells)} |")
  return "".join(re.sub(" +", " ", line) + "\n" for line in lines)


def cell(group, key: str, error_key: str, scale: float, pattern: str) -> str:
  """Mean ± standard error of a figure; empty where there is none."""
  values = [scale * row[key] for row in group if key in row]
  if not values:
    return ""
  error = (np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1
           else scale * group[0][error_key])
  return f"{np.mean(values):{pattern}} ± {error:{pattern}}"


def draw(args) -> None:
  """A row of pictures per model, a column per caption; the first row is real."""
  source = Scenes("test")
  real, scenes = source.batch(CATEGORIES.index(name) + len(CATEGORIES) * 100 for name in CATEGORIES)
  texts = [scene.caption for scene in scenes]
  rows = {"real": real}
  for name, how in (("ntm", {"refine": "score"}), ("gaussian", {"refine": "score"}),
                    ("finetuned", {"refine": "score"}),
                    ("flow_matching", {"num_steps": 4}), ("flow_matching", {"num_steps": 50})):
    if name in args.models:
      model = ntm.restore(args.results / f"{name}-{args.seeds[0]}")
      images = model.sample(jax.random.key(0), prompts=[t for t in texts for _ in range(2)], **how)
      label = name.replace("_", " ") + f", {how.get('num_steps', 4)} steps"
      rows[label] = images
  figure = Figure(figsize=(12, 1.1 * len(rows) + 0.4), layout="constrained")
  FigureCanvasAgg(figure)
  grid = figure.subplots(len(rows), len(texts), squeeze=False)
  for line, (label, images) in zip(grid, rows.items()):
    for i, axes in enumerate(line):
      part = images[i:i + 1] if label == "real" else images[2 * i:2 * i + 2]
      axes.imshow(np.clip(np.concatenate(part, axis=1) / 2 + 0.5, 0, 1), interpolation="nearest")
      axes.set(xticks=[], yticks=[])
    line[0].set_ylabel(label.replace(", ", ",\n"), fontsize=8, rotation=0, ha="right", va="center")
  for axes, text in zip(grid[0], texts):
    axes.set_title(textwrap.fill(text, 28), fontsize=7)
  figure.savefig(args.picture, dpi=120)


if __name__ == "__main__":
  main()
