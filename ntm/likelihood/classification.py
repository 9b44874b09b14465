"""Classification by Bayes' rule, from a density conditioned on classes alone.

With equal priors p(y | x) is proportional to p(x | y), here the mean of K importance weights of x
under class y. The weights of all classes have the same noise, so most of its error cancels.
"""

from collections.abc import Callable

import numpy as np

from ntm.typing import PRNGKey


def log_posterior(model, rng: PRNGKey, images: np.ndarray, draws: int,
                  level_spacing: float | None = None, num_steps: int | None = None,
                  progress: Callable[[int, int], None] | None = None) -> np.ndarray:
  """log p(y | x) of all classes y, in nats, float64 [B, Y].

  Args:
    model: a restored NTM with Y = `model.num_classes` classes (`ntm.api.Model`).
    rng: a key, of the noise.
    images: x, as `Model.log_prob`.
    draws: K, importance weights per image and class.
    level_spacing: as `Model.log_weights`.
    num_steps: T; None for the first that the model was trained for.
    progress: called with (classes done, Y) after every class.
  """
  classes, log_prob_YB = model.config.model.num_classes, []
  for label in range(classes):
    weights_JB = model.log_weights(rng, images, np.full(len(images), label), num_steps, draws,
                                   level_spacing)
    log_prob_YB.append(np.logaddexp.reduce(np.asarray(weights_JB, np.float64), axis=0))
    if progress:
      progress(label + 1, classes)
  log_prob_BY = np.stack(log_prob_YB, axis=1)
  return log_prob_BY - np.logaddexp.reduce(log_prob_BY, axis=1, keepdims=True)


def summary(log_posterior_BY: np.ndarray, labels: np.ndarray) -> dict[str, float]:
  """Accuracy, and how much the posterior gives to the true class.

  Args:
    log_posterior_BY: as `log_posterior` returns it.
    labels: true classes, [B].

  Returns:
    {"accuracy", "accuracy_standard_error", "nats_per_image" of -log p(true class | x),
    "nats_standard_error"}; the errors are over images.
  """
  right_B = log_posterior_BY.argmax(axis=1) == labels
  nats_B = -log_posterior_BY[np.arange(len(labels)), labels]
  error = lambda values_B: float(values_B.std(ddof=1) / len(labels) ** 0.5)
  return {"accuracy": float(right_B.mean()), "accuracy_standard_error": error(right_B),
          "nats_per_image": float(nats_B.mean()), "nats_standard_error": error(nats_B)}
