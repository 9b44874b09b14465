"""Fréchet distance between Gaussians fitted to two sets of features, and its standard error.

With covariances S = R R^T, the trace of (S1 S2)^{1/2} is the sum of the singular values of
R1^T R2. They are the square roots of the eigenvalues of R1^T S2 R1; but an eigenvalue of zero
comes with a rounding error e, whose root is much larger than the e of a singular value. So
covariances of any rank are fine, as those of fewer samples than features.
"""

from typing import NamedTuple

import numpy as np

from ntm.evaluation.moments import Moments, merged


class Gaussian(NamedTuple):
  """Mean [F] and a root R [F, rank] of the covariance R R^T, float64."""

  mean: np.ndarray
  root: np.ndarray

  @classmethod
  def of_covariance(cls, mean: np.ndarray, covariance: np.ndarray) -> "Gaussian":
    """That of a mean [F] and a covariance [F, F], positive semidefinite up to rounding."""
    values, vectors = np.linalg.eigh(np.asarray(covariance, np.float64))
    kept = values > values[-1] * len(values) * np.finfo(np.float64).eps
    return cls(np.asarray(mean, np.float64), vectors[:, kept] * np.sqrt(values[kept]))

  @classmethod
  def of_moments(cls, moments: Moments) -> "Gaussian":
    """That of moments, with the unbiased covariance."""
    return cls.of_covariance(moments.mean, moments.covariance)

  @classmethod
  def fit(cls, features: np.ndarray) -> "Gaussian":
    """That of features [M, F], with the unbiased covariance."""
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or len(features) < 2:
      raise ValueError(f"features have shape {features.shape}; expected at least two rows.")
    if len(features) > features.shape[1]:
      return cls.of_moments(Moments.of(features))
    mean = features.mean(axis=0)  # Few rows are a root themselves.
    return cls(mean, (features - mean).T / np.sqrt(len(features) - 1))


def distance(first: np.ndarray, second: np.ndarray) -> float:
  """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^{1/2}) of two sets of features.

  Args:
    first: features, [M, F].
    second: features, [M', F].

  Returns:
    The squared Fréchet (2-Wasserstein) distance, >= 0 up to rounding.
  """
  return between(Gaussian.fit(first), Gaussian.fit(second))


def between(first: Gaussian, second: Gaussian) -> float:
  """`distance` of Gaussians."""
  overlap = np.linalg.svd(first.root.T @ second.root, compute_uv=False).sum()
  return float(((first.mean - second.mean) ** 2).sum() + (first.root ** 2).sum()
               + (second.root ** 2).sum() - 2 * overlap)


def standard_error(first: Gaussian, second: np.ndarray, groups: int = 10) -> float:
  """Standard error of the distance over the rows of `second`, `first` being fixed.

  The delete-a-group jackknife: with d_i the distance without the i-th of g groups of
  consecutive rows, sqrt((g - 1) / g sum_i (d_i - mean d)^2).

  Args:
    first: of the reference.
    second: features, [M', F], in an order in which any rows in a row are like all.
    groups: g, at least 2; fewer if there are fewer rows than 2 g.
  """
  groups = max(2, min(groups, len(second) // 2))
  parts = np.array_split(np.asarray(second), groups)
  if len(second) > second.shape[1]:  # Every row is read once.
    moments = [Moments.of(part) for part in parts]
    without = lambda i: Gaussian.of_moments(merged(moments[:i] + moments[i + 1:]))
  else:
    without = lambda i: Gaussian.fit(np.concatenate(parts[:i] + parts[i + 1:]))
  values = [between(first, without(i)) for i in range(groups)]
  return float(np.sqrt((groups - 1) * np.var(values)))
