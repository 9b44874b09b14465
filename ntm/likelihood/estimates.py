"""Likelihood estimates of a set of images, with standard errors over the images."""

import math
from collections.abc import Callable

import jax
import numpy as np

from ntm.likelihood import bounds


def step_log_prob(model, rng, images, labels, num_steps: int | None, draws: int,
                  progress: Callable[[int, int], None] | None = None) -> np.ndarray:
  """Log-likelihood of every step in nats, averaged over forward trajectories, [S, B].

  Args:
    model: a restored NTM (`ntm.api.Model`).
    rng: a key for the trajectories.
    images: as `Model.log_prob`.
    labels: as `Model.log_prob`.
    num_steps: T; None for the first that the model was trained for.
    draws: forward trajectories per image.
    progress: called with (draws done, draws) after every draw.
  """
  total_SB = []
  for key in jax.random.split(rng, draws):
    total_SB.append(np.asarray(model.log_prob(key, images, labels, num_steps).step_SB))
    if progress:
      progress(len(total_SB), draws)
  return np.mean(total_SB, axis=0)


def nll_per_dim(step_SB: np.ndarray, image_shape: tuple[int, ...]) -> tuple[np.ndarray, float]:
  """Negative log-likelihood of every step in nats per dimension, and their mean's error.

  Args:
    step_SB: as `step_log_prob` returns it.
    image_shape: of one image.

  Returns:
    (mean over the images [S], k = 1 first; standard error of the mean over the steps).
  """
  nll_SB = -step_SB / np.prod(image_shape)
  return nll_SB.mean(axis=1), _standard_error(nll_SB.mean(axis=0))


def bits_per_dim(log_weight_JB, image_shape: tuple[int, ...]) -> dict[str, dict[str, float]]:
  """The importance bound in bits per dimension for K = 1, 2, 4, ... draws.

  Args:
    log_weight_JB: as `Model.log_weights` returns it.
    image_shape: of one image.

  Returns:
    {K: {"mean", "standard_error"}}.
  """
  unit = -1 / (math.log(2) * math.prod(image_shape))
  table = {}
  for count in (2 ** i for i in range(len(log_weight_JB).bit_length())):
    bits_B = unit * np.asarray(bounds.importance_bound(log_weight_JB, count), np.float64)
    table[str(count)] = {"mean": bits_B.mean(), "standard_error": _standard_error(bits_B)}
  return table


def paired_difference(first_JB, second_JB) -> dict[str, float]:
  """Difference of the tightest bounds of two models on the same images, first minus second.

  Args:
    first_JB: log weights of one model.
    second_JB: log weights of the other.

  Returns:
    Nats per image with standard error, and log10 of the Bayes factor under equal priors.
  """
  first_B, second_B = (np.asarray(bounds.importance_bound(weights_JB, len(weights_JB)), np.float64)
                       for weights_JB in (first_JB, second_JB))
  difference_B = first_B - second_B
  return {"nats_per_image": difference_B.mean(), "standard_error": _standard_error(difference_B),
          "log10_bayes_factor": difference_B.sum() / math.log(10)}


def _standard_error(values_B) -> float:
  return float(values_B.std(ddof=1) / np.sqrt(len(values_B)))
