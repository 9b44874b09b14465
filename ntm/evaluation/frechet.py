"""Fréchet distance between Gaussians fitted to two sets of features, and its standard error."""

import numpy as np


def moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Mean [F] and unbiased covariance [F, F] of features [M, F], float64."""
  features = np.asarray(features, np.float64)
  if features.ndim != 2 or len(features) < 2:
    raise ValueError(f"features have shape {features.shape}; expected at least two rows.")
  return features.mean(axis=0), np.cov(features, rowvar=False)


def distance(first: np.ndarray, second: np.ndarray) -> float:
  """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^{1/2}) of two sets of features.

  The trace of the root is the sum of the square roots of the eigenvalues of
  S1^{1/2} S2 S1^{1/2}, which is symmetric, so singular covariances are fine.

  Args:
    first: features, [M, F].
    second: features, [M', F].

  Returns:
    The squared Fréchet (2-Wasserstein) distance, >= 0 up to rounding.
  """
  return _distance(*moments(first), *moments(second))


def standard_error(first: np.ndarray, second: np.ndarray, groups: int = 10) -> float:
  """Standard error of `distance` over the rows of `second`, those of `first` being fixed.

  The delete-a-group jackknife: with d_i the distance without the i-th of g groups of
  consecutive rows, sqrt((g - 1) / g sum_i (d_i - mean d)^2).

  Args:
    first: features of the reference, [M, F].
    second: features, [M', F], in an order in which any rows in a row are like all.
    groups: g, at least 2; fewer if there are fewer rows than 2 g.
  """
  groups = max(2, min(groups, len(second) // 2))
  reference = moments(first)
  parts = np.array_split(np.asarray(second), groups)
  values = [_distance(*reference, *moments(np.concatenate(parts[:i] + parts[i + 1:])))
            for i in range(groups)]
  return float(np.sqrt((groups - 1) * np.var(values)))


def _distance(mean_1, cov_1, mean_2, cov_2) -> float:
  values, vectors = np.linalg.eigh(cov_1)
  root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
  product = np.clip(np.linalg.eigvalsh(root @ cov_2 @ root), 0, None)
  return float(((mean_1 - mean_2) ** 2).sum() + np.trace(cov_1) + np.trace(cov_2)
               - 2 * np.sqrt(product).sum())
