"""k-nearest-neighbour precision and recall of samples in a feature space.

The support of a set is the union of balls around its points, each reaching to
the point's k-th neighbour within the set. Precision is the share of samples in
the support of the data, recall the share of data in the support of the samples
(Kynkäänniemi et al., 2019).
"""

import numpy as np
from sklearn.neighbors import NearestNeighbors


def precision_recall(data: np.ndarray, samples: np.ndarray, k: int = 3) -> tuple[float, float]:
  """Precision and recall of samples against data, both features [M, F]."""
  return _coverage(data, samples, k), _coverage(samples, data, k)


def _coverage(support: np.ndarray, points: np.ndarray, k: int) -> float:
  """Share of points within some support point's k-th neighbour distance."""
  # k + 1: a point is its own nearest neighbour.
  radii = NearestNeighbors(n_neighbors=k + 1).fit(support).kneighbors(support)[0][:, -1]
  distances = np.sqrt(np.maximum(
      (points ** 2).sum(1)[:, None] + (support ** 2).sum(1)[None] - 2 * points @ support.T, 0))
  return float((distances <= radii[None]).any(axis=1).mean())
