"""What is claimed, and whether the rows confirm it.

The rule. A comparison says that a figure of one model is better than that of another, or at least
`factor` times as good. Its differences d, one per seed that both have, count as positive in the
claimed direction; of lower-is-better figures d = factor * worse - better. With three seeds or
more, it is confirmed if the 95 % interval of the mean of d, by Student's t, is above 0, and refuted
if it is below 0; otherwise it is undecided. Runs of one seed that differ in sampling alone share
their noise, which then cancels. A training that diverged is worse than any that did not.

A claim is confirmed if all of its comparisons are, refuted if one of them is.
"""

import dataclasses
import math

import numpy as np
from scipy.stats import t as student_t

CONFIRMED, REFUTED, UNDECIDED = "confirmed", "refuted", "undecided"
MIN_SEEDS, _LEVEL = 3, 0.95
Model = tuple[str, str]  # Experiment, and sampler.


@dataclasses.dataclass(frozen=True)
class Metric:
  """A figure of a row.

  Attributes:
    name: in tables.
    pattern: format of its numbers.
    higher: whether higher is better.
  """

  name: str
  pattern: str
  higher: bool = False


METRICS = {
    "nll_nats_per_dim": Metric("NLL, nats/dim", ".4f"),
    "frechet_distance": Metric("Fréchet distance", ".3f"),
    "precision": Metric("precision", ".3f", higher=True),
    "recall": Metric("recall", ".3f", higher=True),
    "class_accuracy": Metric("class accuracy", ".3f", higher=True),
    "kl_to_truth_nats": Metric("KL to the truth, nats", ".3f"),
    "gaussian_kl_nats": Metric("KL of the best Gaussian chain, nats", ".3f"),
    "in_mode_share": Metric("samples in a mode", ".3f", higher=True),
    "score": Metric("right pictures", ".3f", higher=True),
}


@dataclasses.dataclass(frozen=True)
class Comparison:
  """A figure of one model is better than another's.

  Attributes:
    metric: in `METRICS`.
    better: the model that is claimed to be better.
    worse: the other one.
    factor: of the worse model's figure, which the better one must beat: below 1 it must be better
      by as much, above 1 it may be as much worse (of lower-is-better figures).
    worse_metric: another figure of the worse model to compare with; '' is the same.
  """

  metric: str
  better: Model
  worse: Model
  factor: float = 1.0
  worse_metric: str = ""


@dataclasses.dataclass(frozen=True)
class Divergence:
  """All trainings of an experiment end with a loss that is not finite."""

  model: Model


@dataclasses.dataclass(frozen=True)
class Claim:
  """A statement and the comparisons it consists of.

  Attributes:
    text: a sentence.
    of_paper: whether the paper says so; otherwise it is a question of this project.
    parts: all must hold.
  """

  text: str
  of_paper: bool
  parts: tuple[Comparison | Divergence, ...]


def figure(rows: dict, model: Model, seed: int, metric: str) -> float | None:
  """A figure of a model of a seed; None if it was not measured, or not of this way to sample.

  Likelihoods are those of the run, whichever way to sample was measured with them.

  Args:
    rows: as `rows.valid` gives them.
    model: experiment and sampler.
    seed: of the run.
    metric: in `METRICS`.
  """
  experiment, sampler = model
  row = rows.get((experiment, seed, sampler))
  if row is None:
    return None
  if "diverged_at_step" in row:
    return -math.inf if METRICS[metric].higher else math.inf
  if metric in row or not metric.startswith("nll"):
    return row.get(metric)
  return next((other[metric] for key, other in rows.items()
               if key[:2] == (experiment, seed) and other.get("num_steps") == row.get("num_steps")
               and metric in other), None)


def seeds(rows: dict, *models: Model) -> list[int]:
  """Seeds that all of these models have rows of."""
  have = [{seed for experiment, seed, sampler in rows if (experiment, sampler) == model}
          for model in models]
  return sorted(set.intersection(*have))


def verdict(claim: Claim, rows: dict) -> tuple[str, str]:
  """(confirmed, refuted or undecided; why, in a line).

  Args:
    claim: what is said.
    rows: as `rows.valid` gives them.
  """
  found = [_divergence(part, rows) if isinstance(part, Divergence) else _comparison(part, rows)
           for part in claim.parts]
  verdicts = [name for name, _ in found]
  overall = (REFUTED if REFUTED in verdicts else
             UNDECIDED if UNDECIDED in verdicts else CONFIRMED)
  return overall, "; ".join(dict.fromkeys(reason for _, reason in found))


def _divergence(part, rows):
  found = ["diverged_at_step" in rows[(part.model[0], seed, part.model[1])]
           for seed in seeds(rows, part.model)]
  reason = f"{sum(found)} of {len(found)} trainings diverged"
  if len(found) < MIN_SEEDS:
    return UNDECIDED, _few(len(found))
  return CONFIRMED if all(found) else UNDECIDED if any(found) else REFUTED, reason


def _comparison(part, rows):
  metric = METRICS[part.metric]
  pairs = [(figure(rows, part.better, seed, part.metric),
            figure(rows, part.worse, seed, part.worse_metric or part.metric))
           for seed in seeds(rows, part.better, part.worse)]
  pairs = np.array([pair for pair in pairs if None not in pair], float).reshape(-1, 2)
  if len(pairs) < MIN_SEEDS:
    return UNDECIDED, _few(len(pairs))
  sign = -1 if metric.higher else 1
  with np.errstate(invalid="ignore"):
    d = sign * (part.factor * pairs[:, 1] - pairs[:, 0])
  low, high = interval(d)
  better, worse = (format(value, metric.pattern) for value in pairs.mean(axis=0))
  times = f"{part.factor:g} x " if part.factor != 1 else ""
  other = f" {METRICS[part.worse_metric].name}" if part.worse_metric else ""
  reason = (f"{metric.name} {better} against {times}{worse}{other}, {len(d)} seeds: better by "
            f"{low:{metric.pattern}} to {high:{metric.pattern}}")
  return CONFIRMED if low > 0 else REFUTED if high < 0 else UNDECIDED, reason


def interval(d: np.ndarray) -> tuple[float, float]:
  """The 95 % interval of the mean of differences [seeds], by Student's t.

  Infinite differences of one sign give an interval at infinity, others all numbers.
  """
  if not np.isfinite(d).all():
    return ((math.inf, math.inf) if (d > 0).all() else (-math.inf, -math.inf) if (d < 0).all()
            else (-math.inf, math.inf))
  half = student_t.ppf(0.5 + _LEVEL / 2, len(d) - 1) * d.std(ddof=1) / len(d) ** 0.5
  return float(d.mean() - half), float(d.mean() + half)


def _few(count):
  return "not yet measured" if not count else f"{count} of {MIN_SEEDS} seeds measured"
