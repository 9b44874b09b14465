"""Measures likelihood and sample quality of a trained model.

  ntm evaluate --workdir=runs/digits --json=result.json

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
from ntm.commands import entry_point
from ntm.commands.progress import progress
from ntm.data import pipeline
from ntm.evaluation import sample_metrics
from ntm.sampling import ode
from ntm.training import data_record

_LOG = logging.getLogger("ntm")
FLAGS = flags.FlagValues()
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the run.", required=True,
                               flag_values=FLAGS)
_JSON = flags.DEFINE_string("json", None, "File to write the figures to, as JSON.",
                            flag_values=FLAGS)
_NUM = flags.DEFINE_integer("num_samples", 2000, "Samples to draw, labels uniform.", 2,
                            entry_point.MANY, flag_values=FLAGS)
_STEPS = flags.DEFINE_integer(
    "steps", None, "Sampling steps T; the first T the model was trained for if left out, 50 of a "
    "flow-matching model.", 1, entry_point.MANY, flag_values=FLAGS)
_GUIDANCE = flags.DEFINE_float("guidance", 0.0, "Scale of classifier-free guidance; 0 is none.",
                               0, entry_point.MANY, flag_values=FLAGS)
_REFINE = flags.DEFINE_enum("refine", "score", ["none", "score", "denoiser"],
                            "How the last state of an NTM is denoised.", flag_values=FLAGS)
_SOLVER = flags.DEFINE_enum("solver", "euler", ode.SOLVERS, "ODE solver of a flow-matching model.",
                            flag_values=FLAGS)
_DRAWS = flags.DEFINE_integer("draws", 8, "Forward trajectories per image.", 1, entry_point.MANY,
                              flag_values=FLAGS)
_SEED = flags.DEFINE_integer("seed", 0, "Random seed for samples and trajectories.", 0,
                             entry_point.MAX_SEED, flag_values=FLAGS)
_STEP = flags.DEFINE_integer("checkpoint", None, "Step of the checkpoint; the newest if left out.",
                             flag_values=FLAGS)

_LIMIT = 10_000  # Real images read of either split.


def main(_) -> None:
  """Prints the figures and writes them as JSON."""
  if _JSON.value:
    entry_point.check_output("json", _JSON.value)
  model = api.restore(_WORKDIR.value, _STEP.value)
  config = model.config
  rng_nll, rng_sample = jax.random.split(jax.random.key(_SEED.value))
  with progress("reading images"):
    train, test, record = pipeline.evaluation_data(config, _LIMIT)
    data_record.warn_if_changed(_WORKDIR.value, record)
  if "label" not in train:
    raise ValueError(f"{_WORKDIR.value} was trained on data without classes, and the figures are "
                     "those of a classifier; use ntm.restore and its log_prob.")
  result = {"checkpoint": model.step, "num_samples": _NUM.value, "guidance": _GUIDANCE.value}
  if isinstance(model, api.Model):
    entry_point.refuse(FLAGS, ["solver"], "the model is an NTM")
    # The samples first: a flag that the model cannot follow is refused before the long part.
    samples, labels, how = draw(model, rng_sample, refine=_REFINE.value)
    result |= likelihood(model, rng_nll, train, test)
  else:
    entry_point.refuse(FLAGS, ["refine", "draws"], "the model is a flow-matching one")
    samples, labels, how = draw(model, rng_sample, solver=_SOLVER.value)
    result["num_steps"] = _STEPS.value or DEFAULT_STEPS
  _LOG.info("fitting the classifier")
  with progress("measuring the samples"):
    judge = sample_metrics.Judge(train)
    result |= how | judge.figures(samples, labels)
    result |= {f"test_{name}": value
               for name, value in judge.figures(test["image"], test["label"]).items()}
  for name, value in result.items():
    print(f"{name:30} {np.round(value, 4) if not isinstance(value, str) else value}")
  if _JSON.value:
    pathlib.Path(_JSON.value).parent.mkdir(parents=True, exist_ok=True)
    pathlib.Path(_JSON.value).write_text(json.dumps(result, indent=2) + "\n")


def likelihood(model: api.Model, rng, train, test) -> dict[str, float | list[float]]:
  """Held-out and training NLL, in nats/dim."""
  _LOG.info("scoring %d test and %d training images", len(test["image"]), len(train["image"]))
  with progress("scoring test images") as report:
    test_steps, error = held_out_nll(model, rng, test, report)
  with progress("scoring training images") as report:
    train_steps, _ = held_out_nll(model, rng, train, report)
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
  with progress("sampling") as report:
    samples = model.sample(rng, labels, guidance=_GUIDANCE.value, num_samples=_NUM.value,
                           progress=report, **steps, **keywords)
  checks.finite("samples", samples)
  return samples, labels, how | steps


def held_out_nll(model: api.Model, rng, batch, report) -> tuple[np.ndarray, float]:
  """Nats/dim of every step, k = 1 first, and the standard error of their mean."""
  labels = batch["label"] if model.config.model.num_classes else None
  draws = []
  for key in jax.random.split(rng, _DRAWS.value):
    draws.append(np.asarray(model.log_prob(key, batch["image"], labels, _STEPS.value).step_SB))
    report(len(draws), _DRAWS.value)
  steps_SB = np.mean(draws, axis=0)
  checks.finite("log-likelihoods", steps_SB.T)
  steps_SB = -steps_SB / np.prod(model.config.model.image_shape)
  error = steps_SB.mean(axis=0).std(ddof=1) / np.sqrt(steps_SB.shape[1])
  return steps_SB.mean(axis=1), float(error)


def run(argv=None) -> None:
  """Entry point."""
  entry_point.run(main, argv, values=FLAGS, about=__doc__)


if __name__ == "__main__":
  run()
