"""Mean and covariance of any number of features, batch after batch and host after host.

With n rows of mean m and scatter S = sum_i (x_i - m)(x_i - m)^T, two sets together have

  n = n1 + n2,   m = m1 + d n2 / n,   S = S1 + S2 + d d^T n1 n2 / n,   d = m2 - m1,

which loses no digits where the mean is large (Chan et al., 1979). All is float64.
"""

import dataclasses
import functools
from collections.abc import Iterable

import numpy as np

from ntm.training import multihost


@dataclasses.dataclass(frozen=True)
class Moments:
  """Of features of width F.

  Attributes:
    count: rows, n.
    mean: m, [F] float64.
    scatter: S, [F, F] float64.
  """

  count: int
  mean: np.ndarray
  scatter: np.ndarray

  @classmethod
  def of(cls, features: np.ndarray) -> "Moments":
    """Those of features [M, F]."""
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or not len(features):
      raise ValueError(f"features have shape {features.shape}; expected at least one row.")
    mean = features.mean(axis=0)
    return cls(len(features), mean, (features - mean).T @ (features - mean))

  def merge(self, other: "Moments") -> "Moments":
    """Those of the rows of both."""
    count, shift = self.count + other.count, other.mean - self.mean
    return Moments(
        count, self.mean + shift * (other.count / count),
        self.scatter + other.scatter
        + np.outer(shift, shift) * (self.count * other.count / count))

  @property
  def covariance(self) -> np.ndarray:
    """S / (n - 1), [F, F]; ValueError of a single row."""
    if self.count < 2:
      raise ValueError(f"features have {self.count} row; expected at least two rows.")
    return self.scatter / (self.count - 1)


def merged(parts: Iterable[Moments]) -> Moments:
  """Those of the rows of all, at least one."""
  return functools.reduce(Moments.merge, parts)


def merged_over_hosts(local: Moments) -> Moments:
  """Those of the rows of all processes, on each of them; collective."""
  count, mean, scatter = (multihost.allgather_rows(np.asarray(part, np.float64)[None])
                          for part in (local.count, local.mean, local.scatter))
  return merged(map(Moments, count.astype(int).tolist(), mean, scatter))
