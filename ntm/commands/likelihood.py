"""Bounds the likelihood of test images, and measures calibration and anomaly scores.

  ntm likelihood --workdir=runs/digits

For the test images: a lower bound on log P(image) in bits per dimension and its
importance-weighted tightening, calibration of the predictor, and, for the digits,
scores that separate them from other inputs. With --compare=OTHER, the paired
difference between two models on the same images; with --classify=K, how well Bayes' rule
names their class.

Writes OUTPUT.json (or --json), OUTPUT.csv (scores of every image), OUTPUT.png (QQ plot) and
OUTPUT_spread.png (real images, then per level a noisy state and the mean and standard
deviation of samples from it).

  ntm likelihood --workdir=runs/digits --compress=digits.ntm --num=100
  ntm likelihood --workdir=runs/digits --decompress=digits.ntm --output=digits

The first compresses test images losslessly into a file, decodes it again, and compares the
length of the code with the bound; the second writes the images of such a file to OUTPUT.npz
(`images`, `labels`) and OUTPUT.png. Nothing else is then done.
"""

import csv
import logging

import jax
import numpy as np
from absl import flags

from ntm import api
from ntm.api import checks
from ntm.commands import compressed_file, entry_point, shared_flags
from ntm.commands.progress import progress
from ntm.data import digits, pipeline, sources
from ntm.likelihood import anomaly, bounds, calibration, classification, estimates, spread
from ntm.likelihood.compression import check_codable
from ntm.sampling import pictures
from ntm.training import data_record

_LOG = logging.getLogger("ntm")
FLAGS = flags.FlagValues()
_WORKDIR = shared_flags.workdir(FLAGS)
_CHECKPOINT = shared_flags.checkpoint(FLAGS)
_COMPARE = flags.DEFINE_string("compare", None, "Directory of another model trained on the same "
                               "data, to compare with.", flag_values=FLAGS)
_OUTPUT = shared_flags.output(FLAGS, "WORKDIR/likelihood, or WORKDIR/decompressed,")
_JSON = shared_flags.json(FLAGS)
_DRAWS = shared_flags.count(FLAGS, "draws", 64, "Importance weights per image.")
_CLASSIFY = shared_flags.count(
    FLAGS, "classify", None, "Importance weights per image and class for a classification by "
    "Bayes' rule, which costs them for every class; left out by default.")
_STEPS = shared_flags.count(FLAGS, "steps", None, "Number of steps T of the trajectories; by "
                            "default the first T that the model was trained for.")
_COMPRESS = flags.DEFINE_string("compress", None, "File to compress test images into, losslessly.",
                                flag_values=FLAGS)
_NUM = shared_flags.count(FLAGS, "num", 100, "Number of test images for --compress, evenly spaced; "
                          "all of them if there are fewer.")
_DECOMPRESS = flags.DEFINE_string("decompress", None, "File of --compress to write the images of.",
                                  flag_values=FLAGS)
_SEED = shared_flags.seed(FLAGS, "all noise")

_LIMIT = 10_000  # Images read of either split.
_SCORE_DRAWS = 8  # Trajectories per image behind an anomaly score.
_SPREAD_IMAGES, _SPREAD_DRAWS = 10, 64  # In the picture of the spread.
_NORMAL = "test digits"


def main(_) -> None:
  """Prints the results and writes the files."""
  if _JSON.value:
    entry_point.check_output("json", _JSON.value)
  if _COMPRESS.value:
    return _compress()
  if _DECOMPRESS.value:
    return _decompress()
  entry_point.refuse(FLAGS, ["num"], "only --compress takes a number of images")
  output = entry_point.output_path(_OUTPUT, _WORKDIR.value, "likelihood", (".json", ".csv", ".png"))
  model = api.restore_density(_WORKDIR.value, _CHECKPOINT.value)
  other = api.restore_density(_COMPARE.value) if _COMPARE.value else None
  if other:
    bounds.check_comparable(model.config, other.config)
    checks.num_steps(other.config, _STEPS.value)
  config = model.config
  checks.num_steps(config, _STEPS.value)
  rng = jax.random.key(_SEED.value)
  rng_weights, rng_residuals, rng_scores, rng_spread = jax.random.split(rng, 4)
  spacing = _level_spacing(config)
  if not config.model.num_classes:
    entry_point.refuse(FLAGS, ["classify"], f"{_WORKDIR.value} holds a model without classes")
  train, test = _examples(config, _LIMIT)
  images, labels = test["image"], test["label"] if config.model.num_classes else None
  _LOG.info("weighing %d images, %d draws each", len(images), _DRAWS.value)
  weights_JB = _log_weights(model, rng_weights, images, labels, spacing)
  result = {"images": len(images), "t_min": config.process.t_min, "level_spacing": spacing,
            "bits_per_dim": estimates.bits_per_dim(weights_JB, config.model.image_shape)}
  if _CLASSIFY.value:
    result["classification"] = {"draws": _CLASSIFY.value} | _classify(
        model, jax.random.fold_in(rng, 4), images, labels, spacing)
  if other:
    other_labels = test["label"] if other.config.model.num_classes else None
    result["compare"] = estimates.paired_difference(
        weights_JB, _log_weights(other, rng_weights, images, other_labels, spacing))
  with progress("standardising residuals"):
    z_SBD = model.residuals(rng_residuals, images, labels, _STEPS.value)
  checks.finite("test images' residuals", np.swapaxes(z_SBD, 0, 1))
  result["calibration"] = calibration.moments(z_SBD)
  entry_point.make_parent(output)
  calibration.draw_quantiles(f"{output}.png", z_SBD)
  if config.model.predictor.context == "markov":
    _LOG.info("sampling from noisy states")
    first = slice(_SPREAD_IMAGES)
    with progress("sampling from noisy states") as report:
      rows = spread.spread_by_level(model, rng_spread, images[first], None if labels is None
                                    else labels[first], _STEPS.value, _SPREAD_DRAWS, report)
    checks.finite("spreads", np.swapaxes(rows, 0, 1))
    pictures.save(f"{output}_spread.png", pictures.grid(np.stack([images[first], *rows])))
  if config.data.source == "digits":
    _LOG.info("scoring other inputs")
    scores = _anomaly_scores(model, rng_scores, train["image"], images, spacing)
    _write_scores(f"{output}.csv", scores)
    result["auroc"] = anomaly.auroc_table(scores, _NORMAL)
  entry_point.write_json(_JSON.value or f"{output}.json", result)
  _print(result)


def _compress() -> None:
  """--compress."""
  entry_point.refuse(FLAGS, ["decompress", "output", "compare", "draws", "classify"],
                     "--compress writes its file and no other results")
  entry_point.check_output("compress", _COMPRESS.value)
  model = api.restore_density(_WORKDIR.value, _CHECKPOINT.value)
  spacing = _level_spacing(model.config)
  check_codable(model)
  num_steps = checks.num_steps(model.config, _STEPS.value)
  _, test = _examples(model.config, _NUM.value)
  result = compressed_file.write(
      _COMPRESS.value, model, test["image"],
      test["label"] if model.config.model.num_classes else None, num_steps, spacing, _SEED.value)
  entry_point.write_json(_JSON.value, result | entry_point.provenance(_WORKDIR.value, model.config))


def _decompress() -> None:
  """--decompress."""
  entry_point.refuse(FLAGS, ["num", "steps", "seed", "json", "compare", "draws", "classify"],
                     "--decompress only writes the images of its file")
  output = entry_point.output_path(_OUTPUT, _WORKDIR.value, "decompressed", (".npz", ".png"))
  data = compressed_file.read(_DECOMPRESS.value)
  model = api.restore_density(_WORKDIR.value, _CHECKPOINT.value)
  compressed_file.write_images(output, model, data)


def _level_spacing(config) -> float:
  """Distance of the levels of the data; ValueError for models of other data, or of texts."""
  if config.autoencoder.path:
    raise ValueError(f"{_WORKDIR.value} holds a model of latents, which have no levels of known "
                     "distance; expected a model of pixels. `ntm evaluate` and Model.log_prob give "
                     "the density of latents.")
  spacing = sources.level_spacing(config.data)
  if config.model.backbone.text_tokens:
    raise ValueError(f"{_WORKDIR.value} holds a model conditioned on texts; expected one of "
                     "classes, or unconditional. Model.log_weights takes texts.")
  return spacing


def _examples(config, limit):
  """(training, test) examples, one batch each, at most `limit`, evenly spaced."""
  with progress("reading images"):
    train, test, record = pipeline.evaluation_data(config, limit)
    data_record.warn_if_changed(_WORKDIR.value, record)
  return train, test


def _log_weights(model, rng, images, labels, spacing) -> np.ndarray:
  """Importance weights of the images' levels, [J, B]."""
  with progress("weighing") as report:
    weights_JB = model.log_weights(rng, images, labels, _STEPS.value, _DRAWS.value, spacing,
                                   progress=report)
  checks.finite("test images' weights", weights_JB.T)
  return weights_JB


def _classify(model, rng, images, labels, spacing) -> dict[str, float]:
  """How well Bayes' rule names the classes."""
  with progress("classifying") as report:
    log_posterior_BY = classification.log_posterior(
        model, rng, images, _CLASSIFY.value, spacing, _STEPS.value, report)
  checks.finite("test images' posteriors", log_posterior_BY)
  return classification.summary(log_posterior_BY, labels)


def _anomaly_scores(model, rng, train, test, spacing) -> dict[str, dict[str, np.ndarray]]:
  """Anomaly scores of test digits and of other inputs, by kind."""
  kinds = {"training digits": train, _NORMAL: test} | anomaly.other_inputs(test, spacing)
  left_out = model.config.data.left_out
  if left_out >= 0:
    unseen = digits.Digits("left_out", left_out)
    kinds[f"left-out class {left_out}"] = np.stack(
        [unseen[i]["image"] for i in range(len(unseen))])
  steps_SB = {}
  for kind, images in kinds.items():
    with progress(f"scoring {kind}") as report:
      steps_SB[kind] = estimates.step_log_prob(model, rng, images, None, _STEPS.value,
                                               _SCORE_DRAWS, report)
    checks.finite("log-likelihoods", steps_SB[kind].T)
  train_SB = steps_SB.pop("training digits")
  return {kind: anomaly.scores(step_SB, train_SB) for kind, step_SB in steps_SB.items()}


def _write_scores(path, scores) -> None:
  """Writes the scores of every image as CSV."""
  with open(path, "w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(["kind", "index", *anomaly.SCORES])
    for kind, values in scores.items():
      for i, row in enumerate(zip(*(values[name] for name in anomaly.SCORES))):
        writer.writerow([kind, i, *row])


def _print(result) -> None:
  """Prints the results with their definitions."""
  print(f"Bound on -log2 P(image) / dimensions, in bits/dim, over {result['images']} test images\n"
        f"on levels {result['level_spacing']:.4g} apart in [-1, 1], dequantised by the noise of "
        f"t_min = {result['t_min']} cut off at half a level:")
  for count, row in result["bits_per_dim"].items():
    print(f"  K = {count:>4}   {row['mean']:.4f} +- {row['standard_error']:.4f}")
  if row := result.get("classification"):
    print(f"Bayes' rule, K = {row['draws']}: accuracy {row['accuracy']:.1%} +- "
          f"{row['accuracy_standard_error']:.1%}, -log p(class | image) "
          f"{row['nats_per_image']:.3f} +- {row['nats_standard_error']:.3f} nats")
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
          f"{row['standard_error']:.3f} nats per image;\nlog10 Bayes factor under equal priors "
          f"{row['log10_bayes_factor']:+.1f}. It compares bounds, and the fitted parameters "
          "without\na penalty for their number.")


run = entry_point.command(main, FLAGS, __doc__)

if __name__ == "__main__":
  run()
