"""Measures likelihood and sample quality of a trained model.

  ntm evaluate --workdir=runs/digits --json=result.json

For an NTM: negative log-likelihood of training and test images in nats per dimension,
per step and averaged over the steps. For any model: Fréchet distance, precision, recall
and class accuracy of samples, in the features of a small classifier that is fitted to
the training images, next to the same metrics of the test images. Samples of endless
digits or scenes are compared with 20,000 fresh draws, next to as many other fresh ones.

For scenes with captions: the share of samples that show what their caption says, by
category, of captions as in training, and of as many with a combination of words that no
training caption has.

For data of known density (data.source 'mixture'), whose draws are all fresh: the likelihood
of 10,000 of them, the divergence from the truth in nats per trajectory, next to that of the
best Gaussian steps, and the share of samples in a mode and total variations, next to those
of exact draws.
"""

import logging

import jax
import numpy as np
from absl import flags

from ntm import api
from ntm.api import checks
from ntm.api.velocity import DEFAULT_STEPS
from ntm.commands import entry_point, shared_flags
from ntm.commands.progress import progress
from ntm.data import captions, pipeline, sources
from ntm.data.scenes import Scenes
from ntm.evaluation import truth
from ntm.likelihood import estimates
from ntm.models import autoencoder
from ntm.training import data_record
from ntm.truth import named

_LOG = logging.getLogger("ntm")
FLAGS = flags.FlagValues()
_WORKDIR = shared_flags.workdir(FLAGS)
_CHECKPOINT = shared_flags.checkpoint(FLAGS)
_JSON = shared_flags.json(FLAGS)
_NUM_SAMPLES = shared_flags.count(FLAGS, "num_samples", 2000, "Number of samples to draw, equally "
                                  "many per class. Likelihoods are of up to 10,000 images per "
                                  "split, of endless data 2,000.", lowest=2)
_STEPS = shared_flags.sampling_steps(FLAGS)
_GUIDANCE = shared_flags.guidance(FLAGS)
_REFINE = shared_flags.refine(FLAGS)
_SOLVER = shared_flags.solver(FLAGS)
_DRAWS = shared_flags.count(FLAGS, "draws", 8, "Forward trajectories per image, of an NTM.")
_SEED = shared_flags.seed(FLAGS, "samples and trajectories")

_LIMIT = 10_000  # Images read of either split, or points drawn,
_ENDLESS_LIMIT = 2000  # or endless digits or scenes drawn.


def main(_) -> None:
  """Prints the results and writes them as JSON."""
  if _JSON.value:
    entry_point.check_output("json", _JSON.value)
  model = api.restore(_WORKDIR.value, _CHECKPOINT.value)
  checks.guidance_scale(model.config, _GUIDANCE.value)
  known = model.config.data.source == "mixture"
  if known:
    entry_point.refuse(FLAGS, ["refine"], "samples of known data are compared at their own level")
  rng_nll, rng_sample = jax.random.split(jax.random.key(_SEED.value))
  rng_unseen = jax.random.fold_in(rng_sample, 1)
  with progress("reading images"):
    endless = sources.endless(model.config.data) and not known
    train, test, record = pipeline.evaluation_data(
        model.config, _ENDLESS_LIMIT if endless else _LIMIT)
    data_record.warn_if_changed(_WORKDIR.value, record)
  if "image" not in test:
    raise ValueError(f"{_WORKDIR.value} was trained on latents prepared ahead, and samples are "
                     "compared with images; expected data of images.")
  if "label" not in test and "ids" not in test:
    raise ValueError(f"{_WORKDIR.value} was trained on data without classes, and the metrics "
                     "need a classifier; use ntm.restore and its log_prob.")
  if "ids" in test and model.config.data.source != "scenes":
    raise ValueError(f"{_WORKDIR.value} was trained on captions of other pictures than scenes, "
                     "and samples are scored by what a scene shows; use ntm.restore and its "
                     "log_prob.")
  result = {"checkpoint": model.step, "num_samples": _NUM_SAMPLES.value,
            "guidance": _GUIDANCE.value}
  if isinstance(model, api.Model):
    entry_point.refuse(FLAGS, ["solver"], "the model is an NTM")
    # Samples first: a flag that the model does not support is refused before the long part.
    samples, labels, how = _draw(model, rng_sample, refine="none" if known else _REFINE.value)
    result |= (_divergence(model, rng_nll, test) if known
               else _nll(model, rng_nll, train, test))
  else:
    entry_point.refuse(FLAGS, ["refine", "draws"], "the model is a flow-matching one")
    samples, labels, how = _draw(model, rng_sample, solver=_SOLVER.value)
    result["num_steps"] = _STEPS.value or DEFAULT_STEPS
  result |= how
  if known:
    result |= _against_truth(model, samples)
  elif model.config.text.tokenizer:
    result |= _against_captions(model, rng_unseen, samples, how)
  else:
    result |= _against_data(model.config.data, samples, labels, train, test)
  with np.printoptions(suppress=True):
    width = max(map(len, result))
    for name, value in result.items():  # Adding 0 makes -0 positive.
      print(f"{name:{width}} {value if isinstance(value, str) else np.round(value, 4) + 0}")
  entry_point.write_json(_JSON.value, result)


def _nll(model, rng, train, test) -> dict[str, float | list[float]]:
  """Negative log-likelihood of test and training images, in nats per dimension."""
  _LOG.info("scoring %d test and %d training images, independently of --num_samples",
            len(test["image"]), len(train["image"]))
  found = {}
  for split, batch in (("test", test), ("training", train)):
    labels = captions.conditions(model.config, batch)
    with progress(f"scoring {split} images") as report:
      images = model.encode(batch["image"])  # Once for all draws.
      step_SB = estimates.step_log_prob(model, rng, images, labels, _STEPS.value, _DRAWS.value,
                                        report)
    checks.finite("log-likelihoods", step_SB.T)
    found[split] = estimates.nll_per_dim(step_SB, model.config.model.image_shape)
  train_S, _ = found["training"]
  return _nll_figures(model, *found["test"]) | {
      "train_nll_nats_per_dim": float(train_S.mean()), "train_nll_per_step": train_S.tolist()}


def _nll_figures(model, nll_S, error) -> dict[str, float | list[float]]:
  return {"num_steps": len(nll_S), "t_min": model.config.process.t_min,
          "nll_nats_per_dim": float(nll_S.mean()), "nll_standard_error": error,
          "nll_per_step": nll_S.tolist()}


def _divergence(model, rng, draws) -> dict[str, float | list[float]]:
  """Likelihood and divergence from the truth over forward trajectories of draws of the data."""
  _LOG.info("scoring %d draws of the data, independently of --num_samples", len(draws["image"]))
  labels = draws["label"] if model.config.model.num_classes else None
  mixture = named.build(model.config.data, model.config.model.image_shape)
  with progress("comparing with the truth") as report:
    found, step_SB = truth.divergence(model, rng, mixture, draws["image"], labels, _STEPS.value,
                                      _DRAWS.value, report)
  checks.finite("log-likelihoods", step_SB.T)
  nll = estimates.nll_per_dim(step_SB, model.config.model.image_shape)
  return _nll_figures(model, *nll) | found


def _against_truth(model, samples) -> dict[str, float]:
  """Metrics of samples, and of as many exact draws."""
  mixture = named.build(model.config.data, model.config.model.image_shape)
  level = model.config.process.t_min if isinstance(model, api.Model) else 0.0
  exact = truth.draw(_SEED.value, mixture, len(samples), level)
  return truth.sample_metrics(mixture, samples.reshape(exact.shape), level) | {
      f"exact_{name}": value for name, value in truth.sample_metrics(mixture, exact, level).items()}


def _against_data(data, samples, labels, train, test) -> dict[str, float]:
  """Metrics of samples and of real images, in the features of a classifier."""
  # Known data are evaluated without scikit-learn.
  from ntm.evaluation import sample_metrics
  _LOG.info("fitting the classifier")
  with progress("measuring the samples"):
    if data.augment:
      reference, real = sample_metrics.endless(data, len(samples))
    else:
      reference = sample_metrics.Reference.fit(train["image"], train["label"])
      real = {"test": test}
    result = reference.metrics(samples, labels)
    for kind, batch in real.items():
      metrics = reference.metrics(batch["image"], batch["label"])
      result |= {f"{kind}_{name}": value for name, value in metrics.items()}
  return result


def _against_captions(model, rng, samples, how) -> dict[str, float]:
  """Metrics of samples of scenes, and of others whose captions are of another kind."""
  from ntm.evaluation import sample_metrics
  from ntm.evaluation import scenes as scorer
  side, count = samples.shape[1], len(samples)
  unseen, _, _ = _draw(model, rng, split="unseen", **how)
  result = {}
  for split, images in (("test", samples), ("unseen", unseen)):
    prefix = "unseen_" if split == "unseen" else ""
    shown = _scenes(model, split)
    result |= scorer.summary(scorer.score(np.clip(images, -1, 1), shown), shown, prefix)
  with progress("measuring the samples"):
    reference, real = sample_metrics.scenes(side, count)
    for prefix, images in (("", samples), ("fresh_", real["image"])):
      result |= {f"{prefix}{name}": value
                 for name, value in reference.metrics(images, None).items()}
  return result


def _scenes(model, split):
  """The first scenes of a split, one per sample."""
  source = Scenes(split, autoencoder.image_shape(model.config)[0])
  return [source.scene(i) for i in range(_NUM_SAMPLES.value)]


def _draw(model, rng, split="test", **how):
  """(samples, their labels or prompts, the arguments of `sample` that the result records)."""
  _LOG.info("drawing %d samples", _NUM_SAMPLES.value)
  classes = model.config.model.num_classes
  labels = np.arange(_NUM_SAMPLES.value) % classes if classes else None
  if model.config.text.tokenizer:
    labels = [scene.caption for scene in _scenes(model, split)]
  steps = {} if _STEPS.value is None else {"num_steps": _STEPS.value}
  with progress("sampling") as report:
    samples = model.sample(rng, labels, guidance=_GUIDANCE.value, num_samples=_NUM_SAMPLES.value,
                           progress=report, **steps, **how)
  checks.finite("samples", samples)
  return samples, labels, how | steps


run = entry_point.command(main, FLAGS, __doc__)

if __name__ == "__main__":
  run()
