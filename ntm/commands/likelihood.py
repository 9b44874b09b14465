"""Bounds the likelihood of test images, and measures calibration and anomaly scores.

  ntm likelihood --workdir=runs/digits

Of the test images: log-likelihood of every step; a lower bound on log P(image)
in bits per dimension and its importance-weighted tightening; calibration of the
predictor; scores that tell digits from other inputs. With --compare=OTHER, the
paired difference between two models on the same images.

Writes OUTPUT.json, OUTPUT.csv (scores of every image), OUTPUT.png (QQ) and
OUTPUT_spread.png (repeated samples from one noisy state, by level).
"""

import csv
import json
import logging
import math
import pathlib

import jax
import numpy as np
from absl import flags

from ntm import api
from ntm.api import checks
from ntm.commands import entry_point
from ntm.commands.progress import progress
from ntm.data import pipeline, sources
from ntm.likelihood import anomaly, bounds, calibration, spread
from ntm.models import build
from ntm.process import schedule
from ntm.process.trajectory import sample_trajectory
from ntm.sampling import pictures
from ntm.training import data_record
from ntm.typing import Condition

_LOG = logging.getLogger("ntm")
FLAGS = flags.FlagValues()
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the run.", required=True,
                               flag_values=FLAGS)
_COMPARE = flags.DEFINE_string("compare", None, "Directory of another run on the same data, to "
                               "compare with.", flag_values=FLAGS)
_OUTPUT = flags.DEFINE_string("output", None, "Path without suffix of the files to write; "
                              "WORKDIR/likelihood if left out.", flag_values=FLAGS)
_DRAWS = flags.DEFINE_integer("draws", 64, "Importance weights per image.", 1, entry_point.MANY,
                              flag_values=FLAGS)
_STEPS = flags.DEFINE_integer("steps", None, "Steps T of the trajectories; the first T the "
                              "model was trained for if left out.", 1, entry_point.MANY,
                              flag_values=FLAGS)
_SEED = flags.DEFINE_integer("seed", 0, "Random seed for all noise.", 0, entry_point.MAX_SEED,
                             flag_values=FLAGS)
_STEP = flags.DEFINE_integer("checkpoint", None, "Step of the checkpoint; the newest if left out.",
                             flag_values=FLAGS)

_LIMIT = 10_000  # Real images read of either split.
_SCORE_DRAWS = 8  # Trajectories an image behind a score.
_SPREAD_IMAGES, _SPREAD_DRAWS = 10, 64  # Of the picture of the spread.


def main(_) -> None:
  """Prints the figures and writes the files."""
  output = _OUTPUT.value or str(pathlib.Path(_WORKDIR.value) / "likelihood")
  if not _OUTPUT.value and "://" in _WORKDIR.value:
    raise ValueError(f"--workdir is {_WORKDIR.value}, which is not on this machine; expected a "
                     "local path for the figures in --output.")
  entry_point.check_output("output", output, (".json", ".csv", ".png"))
  model = api.restore_density(_WORKDIR.value, _STEP.value)
  other = api.restore_density(_COMPARE.value) if _COMPARE.value else None
  if other:
    bounds.check_comparable(model.config, other.config)
  config = model.config
  rngs = jax.random.split(jax.random.key(_SEED.value), 4)
  spacing = sources.level_spacing(config.data)
  with progress("reading images"):
    train, test, record = pipeline.evaluation_data(config, _LIMIT)
    data_record.warn_if_changed(_WORKDIR.value, record)
  _LOG.info("weighing %d images, %d draws each", len(test["image"]), _DRAWS.value)
  weights_JB = log_weights(model, rngs[0], test, spacing)
  result = {"images": len(test["image"]), "t_min": config.process.t_min,
            "level_spacing": spacing, "bits_per_dim": bits_per_dim(weights_JB, config.model)}
  if other:
    result["compare"] = compare(weights_JB, log_weights(other, rngs[0], test, spacing))
  with progress("standardising residuals"):
    z_SBD = model.residuals(rngs[1], test["image"], labels_of(model, test), _STEPS.value)
  checks.finite("test images' residuals", np.swapaxes(z_SBD, 0, 1))
  result["calibration"] = calibration.moments(z_SBD)
  pathlib.Path(output).parent.mkdir(parents=True, exist_ok=True)
  calibration.draw_quantiles(f"{output}.png", z_SBD)
  if config.model.predictor.context == "markov":
    _LOG.info("sampling from noisy states")
    draw_spread(model, rngs[3], test, f"{output}_spread.png")
  if config.data.source == "digits":
    _LOG.info("scoring other inputs")
    result["auroc"] = anomalies(model, rngs[2], train, test, spacing, f"{output}.csv")
  pathlib.Path(f"{output}.json").write_text(json.dumps(result, indent=2) + "\n")
  report(result)


def labels_of(model, batch):
  """The labels of a batch, if the model reads them."""
  return batch["label"] if model.config.model.num_classes else None


def log_weights(model, rng, batch, spacing) -> np.ndarray:
  """Importance weights of the images' levels, [J, B]."""
  with progress("weighing") as report:
    weights_JB = model.log_weights(rng, batch["image"], labels_of(model, batch), _STEPS.value,
                                   _DRAWS.value, spacing, progress=report)
  checks.finite("test images' weights", weights_JB.T)
  return weights_JB


def bits_per_dim(weights_JB, model_config) -> dict[str, dict[str, float]]:
  """The bound for K = 1, 2, 4, ... draws, with standard errors over images."""
  unit = -1 / (math.log(2) * math.prod(model_config.image_shape))
  table = {}
  for count in (2 ** i for i in range(len(weights_JB).bit_length())):
    bits_B = unit * np.asarray(bounds.importance_bound(weights_JB, count), np.float64)
    table[str(count)] = {"mean": bits_B.mean(), "standard_error": _standard_error(bits_B)}
  return table


def compare(weights_JB, other_JB) -> dict[str, float]:
  """Paired difference of the tightest bounds in nats an image, first minus second."""
  first_B, second_B = (np.asarray(bounds.importance_bound(w, len(w)), np.float64)
                       for w in (weights_JB, other_JB))
  difference_B = first_B - second_B
  return {"nats_per_image": difference_B.mean(), "standard_error": _standard_error(difference_B),
          "log10_bayes_factor": difference_B.sum() / math.log(10)}


def draw_spread(model, rng, batch, path) -> None:
  """Writes real images, then for every level a noisy state and what it may come from.

  Three rows a level, the cleanest first: the state, the mean of the samples and
  their standard deviation (black 0, white 1).
  """
  config, net, patches = model.config, build.ntm(model.config), build.patches(model.config.model)
  images, labels = batch["image"][:_SPREAD_IMAGES], labels_of(model, batch)
  cond = Condition(label_B=None if labels is None else labels[:_SPREAD_IMAGES])
  num_steps = _STEPS.value or config.process.num_steps[0]
  times_K = schedule.padded_times(config.process.schedule, num_steps, num_steps,
                                  config.process.t_min, config.model.num_tokens)
  rng_chain, *rng_levels = jax.random.split(rng, num_steps + 1)
  x_KBNC = sample_trajectory(rng_chain, patches.to_tokens(images), times_K)
  draw = jax.jit(spread.predictive_spread, static_argnums=(1, 5, 7))
  rows = [images]
  for level in range(1, num_steps + 1):
    with progress(f"level {level} of {num_steps}"):
      mean_BNC, std_BNC = jax.device_get(draw(
          rng_levels[level - 1], net, model.params, x_KBNC[level], times_K, level, cond,
          _SPREAD_DRAWS))
    checks.finite(f"spreads of level {level}", mean_BNC + std_BNC)
    rows += [np.asarray(patches.to_images(a))
             for a in (x_KBNC[level], mean_BNC, 2 * std_BNC - 1)]
  pictures.save(path, pictures.grid(np.stack(rows)))


def anomalies(model, rng, train, test, spacing, path) -> dict[str, dict[str, float]]:
  """AUROC of both scores against other inputs; the scores of every image as CSV."""
  def steps(images):
    draws = []
    with progress("scoring") as report:
      for key in jax.random.split(rng, _SCORE_DRAWS):
        draws.append(np.asarray(model.log_prob(key, images, None, _STEPS.value).step_SB))
        report(len(draws), _SCORE_DRAWS)
    steps_SB = np.mean(draws, axis=0)
    checks.finite("log-likelihoods", steps_SB.T)
    return steps_SB

  train_steps = steps(train["image"])
  kinds = {"test digits": test["image"]} | anomaly.other_inputs(test["image"], spacing)
  left_out = model.config.data.left_out
  if left_out >= 0:
    unseen = sources.Digits("left_out", left_out)
    kinds[f"left-out class {left_out}"] = np.stack(
        [unseen[i]["image"] for i in range(len(unseen))])
  values = {kind: anomaly.scores(steps(images), train_steps) for kind, images in kinds.items()}
  with open(path, "w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(["kind", "index", *anomaly.SCORES])
    for kind, scores in values.items():
      for i, row in enumerate(zip(*(scores[name] for name in anomaly.SCORES))):
        writer.writerow([kind, i, *row])
  normal = values.pop("test digits")
  return {kind: {name: anomaly.auroc(normal[name], scores[name]) for name in anomaly.SCORES}
          for kind, scores in values.items()}


def report(result) -> None:
  """Prints the figures with the definitions they need."""
  print(f"Bound on -log2 P(image) / dimensions, in bits/dim, over {result['images']} test images\n"
        f"on levels {result['level_spacing']:.4g} apart in [-1, 1], dequantised by the noise of "
        f"t_min = {result['t_min']} cut off at half a level:")
  for count, row in result["bits_per_dim"].items():
    print(f"  K = {count:>4}   {row['mean']:.4f} +- {row['standard_error']:.4f}")
  print("Residuals z of every step, cleanest first (0, 1 and 0.046 if calibrated):")
  for k, row in enumerate(result["calibration"], start=1):
    print(f"  step {k}   mean {row['mean']:+.3f}   variance {row['variance']:.3f}   "
          f"beyond 2 {row['beyond_2']:.3f}")
  for kind, row in result.get("auroc", {}).items():
    print(f"AUROC against {kind:22} " + "   ".join(
        f"{name} {value:.3f}" for name, value in row.items()))
  if "compare" in result:
    row = result["compare"]
    print(f"This model minus the other: {row['nats_per_image']:+.3f} +- "
          f"{row['standard_error']:.3f} nats/image;\nlog10 Bayes factor under equal priors "
          f"{row['log10_bayes_factor']:+.1f}, of bounds, so only as good as they are tight, and "
          "for the fitted\nparameters: nothing is paid for their number.")


def _standard_error(values) -> float:
  return float(values.std(ddof=1) / math.sqrt(len(values)))


def run(argv=None) -> None:
  """Entry point."""
  entry_point.run(main, argv, values=FLAGS, about=__doc__)


if __name__ == "__main__":
  run()
