"""Mean and covariance of any number of features, batch after batch and host after host.

With n rows of mean m and scatter S = sum_i (x_i - m)(x_i - m)^T, two sets together have

  n = n1 + n2,   m = m1 + d n2 / n,   S = S1 + S2 + d d^T n1 n2 / n,   d = m2 - m1,

which loses no digits where the mean is large (Chan et al., 1979). All is float64.
"""

import dataclasses
import functools
from collections.abc import Iterable

import jax
import numpy as np
from jax.experimental import multihost_utils


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
  if jax.process_count() == 1:
    return local
  gather = lambda array: _gather_float64(np.asarray(array, np.float64))
  return merged(Moments(int(count), mean, scatter) for count, mean, scatter in zip(
      gather(local.count), gather(local.mean), gather(local.scatter)))


def _gather_float64(array):
  """[processes, ...], as bytes: JAX would make float32 of float64."""
  rows = multihost_utils.process_allgather(np.frombuffer(array.tobytes(), np.uint8))
  return np.stack([np.frombuffer(row.tobytes(), np.float64).reshape(array.shape)
                   for row in np.asarray(rows)])
