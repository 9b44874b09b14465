"""k-nearest-neighbour precision and recall of samples in a feature space.

The support of a set is the union of balls around its points, each reaching to
the point's k-th neighbour within the set. Precision is the share of samples in
the support of the data, recall the share of data in the support of the samples
(Kynkäänniemi et al., 2019).
"""

import numpy as np
from sklearn.neighbors import NearestNeighbors

_K = 3
LEAST = _K + 1  # Images that precision and recall can be of.
_MAX_DISTANCES = 2 ** 24  # In memory at once.


def radii(support: np.ndarray, k: int = _K) -> np.ndarray:
  """Distance of every point [M, F] of a set to its k-th neighbour in it, [M]."""
  if len(support) <= k:
    raise ValueError(f"{len(support)} images have no {k} neighbours each; expected at least "
                     f"{k + 1} for precision and recall.")
  # k + 1: a point is its own nearest neighbour.
  return NearestNeighbors(n_neighbors=k + 1).fit(support).kneighbors(support)[0][:, -1]


def precision_recall(data: np.ndarray, samples: np.ndarray, k: int = _K,
                     data_radii: np.ndarray | None = None) -> tuple[float, float]:
  """Precision and recall of samples against data.

  Args:
    data: features, [M, F].
    samples: features, [M', F].
    k: which neighbour a ball reaches to.
    data_radii: `radii(data, k)`, if known.
  """
  if data_radii is None:
    data_radii = radii(data, k)
  return _coverage(data, data_radii, samples), _coverage(samples, radii(samples, k), data)


def _coverage(support: np.ndarray, radii: np.ndarray, points: np.ndarray) -> float:
  """Share of points within some support point's radius."""
  # So many at a time that the matrix of distances stays small.
  size = max(1, _MAX_DISTANCES // len(support))
  covered = [_within(support, radii, points[start:start + size])
             for start in range(0, len(points), size)]
  return float(np.concatenate(covered).mean())


def _within(support, radii, points):
  """Whether each point is within some support point's radius."""
  distances = np.sqrt(np.maximum(
      (points ** 2).sum(1)[:, None] + (support ** 2).sum(1)[None] - 2 * points @ support.T, 0))
  return (distances <= radii[None]).any(axis=1)
