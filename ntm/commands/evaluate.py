"""Measures a model: ntm evaluate --workdir=runs/digits --json=result.json.

Of an NTM, held-out trajectory NLL in nats per dimension, averaged over the
steps, at t_min. Of any model, Fréchet distance, class accuracy, precision and
recall of samples in the features of a small classifier fitted to the training
images, beside the same figures for the real test images.
"""

import json
import logging
import pathlib

import jax
import numpy as np
from absl import flags

from ntm import api
from ntm.api import checks
from ntm.api.velocity import DEFAULT_STEPS
from ntm.commands import program
from ntm.data import pipeline, sources
from ntm.evaluation import quality
from ntm.inference import ode

_LOG = logging.getLogger("ntm")
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the run.")
_JSON = flags.DEFINE_string("json", None, "File for the figures.")
_NUM = flags.DEFINE_integer("num_samples", 2000, "Samples, labels uniform.", lower_bound=2)
_STEPS = flags.DEFINE_integer(
    "steps", None, "T; default the first the model was trained for; of flow matching, 50.")
_GUIDANCE = flags.DEFINE_float("guidance", 0.0, "Classifier-free guidance scale.")
_REFINE = flags.DEFINE_enum("refine", "score", ["none", "score", "denoiser"],
                            "How the last state of an NTM is denoised.")
_SOLVER = flags.DEFINE_enum("solver", "euler", ode.SOLVERS, "Of a flow-matching model.")
_DRAWS = flags.DEFINE_integer("draws", 8, "Forward trajectories an image.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Of samples and trajectories.", lower_bound=0)
_STEP = flags.DEFINE_integer("checkpoint", None, "Checkpoint step; default the newest.")
flags.mark_flags_as_required(["workdir"])

_LIMIT = 10_000  # Real images read of either split.


def main(_) -> None:
  """Prints the figures and writes them as JSON."""
  model = api.restore(_WORKDIR.value, _STEP.value)
  config = model.config
  rng_nll, rng_sample = jax.random.split(jax.random.key(_SEED.value))
  real = {split: pipeline.ordered_batches(sources.load(config.data, config.model, split), _LIMIT,
                                          _LIMIT)[0] for split in sources.SPLITS}
  train, test = real["train"], real["test"]
  if "label" not in train:
    raise ValueError(f"{_WORKDIR.value} was trained on data without classes, and the figures are "
                     "those of a classifier; use ntm.restore and its log_prob.")
  result = {"checkpoint": model.step, "num_samples": _NUM.value, "guidance": _GUIDANCE.value}
  if isinstance(model, api.Model):
    program.refuse(["solver"], "the model is an NTM")
    result |= likelihood(model, rng_nll, train, test)
    samples, labels, how = draw(model, rng_sample, refine=_REFINE.value)
  else:
    program.refuse(["refine", "draws"], "the model is a flow-matching one")
    samples, labels, how = draw(model, rng_sample, solver=_SOLVER.value)
    result["num_steps"] = _STEPS.value or DEFAULT_STEPS
  _LOG.info("fitting the classifier")
  judge = quality.Judge(train)
  result |= how | judge.figures(samples, labels)
  result |= {f"test_{name}": value
             for name, value in judge.figures(test["image"], test["label"]).items()}
  for name, value in result.items():
    print(f"{name:30} {np.round(value, 4) if not isinstance(value, str) else value}")
  if _JSON.value:
    pathlib.Path(_JSON.value).write_text(json.dumps(result, indent=2) + "\n")


def likelihood(model: api.Model, rng, train, test) -> dict[str, float | list[float]]:
  """Held-out and training NLL, in nats/dim."""
  _LOG.info("scoring %d test and %d training images", len(test["image"]), len(train["image"]))
  test_steps, error = held_out_nll(model, rng, test)
  train_steps, _ = held_out_nll(model, rng, train)
  return {"num_steps": len(test_steps), "t_min": model.config.process.t_min,
          "nll_nats_per_dim": float(test_steps.mean()), "nll_standard_error": error,
          "nll_per_step": test_steps.tolist(),
          "train_nll_nats_per_dim": float(train_steps.mean()),
          "train_nll_per_step": train_steps.tolist()}


def draw(model, rng, **how):
  """(samples, their labels, how they were drawn) by the flags."""
  _LOG.info("drawing %d samples", _NUM.value)
  classes = model.config.model.num_classes
  labels = np.arange(_NUM.value) % classes if classes else None
  steps = {} if _STEPS.value is None else {"num_steps": _STEPS.value}
  keywords = {key: None if value == "none" else value for key, value in how.items()}
  samples = model.sample(rng, labels, guidance=_GUIDANCE.value, num_samples=_NUM.value, **steps,
                         **keywords)
  checks.finite("samples", samples)
  return samples, labels, how | steps


def held_out_nll(model: api.Model, rng, batch) -> tuple[np.ndarray, float]:
  """Nats/dim of every step, k = 1 first, and the standard error of their mean."""
  labels = batch["label"] if model.config.model.num_classes else None
  steps_SB = np.mean([model.log_prob(key, batch["image"], labels, _STEPS.value).step_SB
                      for key in jax.random.split(rng, _DRAWS.value)], axis=0)
  checks.finite("log-likelihoods", steps_SB.T)
  steps_SB = -steps_SB / np.prod(model.config.model.image_shape)
  error = steps_SB.mean(axis=0).std(ddof=1) / np.sqrt(steps_SB.shape[1])
  return steps_SB.mean(axis=1), float(error)


def run(argv=None) -> None:
  """Entry point."""
  program.run(main, argv)


if __name__ == "__main__":
  run()
