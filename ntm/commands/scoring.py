"""Likelihoods of a run's data, for `ntm evaluate`."""

import logging

from ntm.api import checks
from ntm.commands.progress import progress
from ntm.data import captions
from ntm.evaluation import truth
from ntm.likelihood import estimates
from ntm.truth import named

_LOG = logging.getLogger("ntm")
Figures = dict[str, float | list[float]]


def nll(model, rng, train, test, num_steps: int | None, draws: int) -> Figures:
  """Negative log-likelihood of test and training images, in nats per dimension.

  Args:
    model: a restored NTM.
    rng: a key for the trajectories.
    train: training examples, as one batch.
    test: test examples, as one batch.
    num_steps: T; None for the first that the model was trained for.
    draws: forward trajectories per image.
  """
  _LOG.info("scoring %d test and %d training images, independently of --num_samples",
            len(test["image"]), len(train["image"]))
  found = {}
  for split, batch in (("test", test), ("training", train)):
    labels = captions.conditions(model.config, batch)
    with progress(f"scoring {split} images") as report:
      images = model.encode(batch["image"])  # Once for all draws.
      step_SB = estimates.step_log_prob(model, rng, images, labels, num_steps, draws, report)
    checks.finite("log-likelihoods", step_SB.T)
    found[split] = estimates.nll_per_dim(step_SB, model.config.model.image_shape)
  train_S, _ = found["training"]
  return _figures(model, *found["test"]) | {
      "nll_draws": draws, "nll_num_images": len(test["image"]),
      "train_nll_num_images": len(train["image"]),
      "train_nll_nats_per_dim": float(train_S.mean()), "train_nll_per_step": train_S.tolist()}


def _figures(model, nll_S, error) -> Figures:
  return {"num_steps": len(nll_S), "t_min": model.config.process.t_min,
          "nll_nats_per_dim": float(nll_S.mean()), "nll_standard_error": error,
          "nll_per_step": nll_S.tolist()}


def divergence(model, rng, points, num_steps: int | None, draws: int) -> Figures:
  """Likelihood and divergence from the truth over forward trajectories of draws of the data.

  Args:
    model: a restored NTM of a known density.
    rng: a key for the trajectories.
    points: draws of the data, as one batch.
    num_steps: as `nll`.
    draws: forward trajectories per point.
  """
  _LOG.info("scoring %d draws of the data, independently of --num_samples", len(points["image"]))
  labels = points["label"] if model.config.model.num_classes else None
  mixture = named.build(model.config.data, model.config.model.image_shape)
  with progress("comparing with the truth") as report:
    found, step_SB = truth.divergence(model, rng, mixture, points["image"], labels, num_steps,
                                      draws, report)
  checks.finite("log-likelihoods", step_SB.T)
  nll = estimates.nll_per_dim(step_SB, model.config.model.image_shape)
  return _figures(model, *nll) | found
