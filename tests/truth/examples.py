"""Small mixtures, and the same quantities by quadrature over clean data."""

import numpy as np

from ntm.truth.mixtures import GaussianMixture, UniformMixture

_WEIGHTS = np.log([0.2, 0.5, 0.3])
GAUSSIAN = GaussianMixture(np.array([[-0.7, 0.2], [0.4, 0.5], [0.1, -0.9]]), 0.15, _WEIGHTS)
UNIFORM = UniformMixture(np.array([[-1.0, -1.0], [0.2, -0.5], [-0.4, 0.3]]),
                         np.array([[-0.3, 0.1], [0.9, 0.4], [0.0, 0.5]]), _WEIGHTS)
BOTH = (("gaussian", GAUSSIAN), ("uniform", UNIFORM))


def nodes(mixture, count=80) -> tuple[np.ndarray, np.ndarray]:
  """Gauss-Legendre nodes over every component, [J, P, 2], and w_j q(x_0 | j) times their weights.

  Sums over the nodes are integrals over x_0, exact for what 80 nodes a dimension resolve.
  """
  gaussian = isinstance(mixture, GaussianMixture)
  low_JD = mixture.mean_JD - 9 * mixture.sigma if gaussian else mixture.low_JD
  high_JD = mixture.mean_JD + 9 * mixture.sigma if gaussian else mixture.high_JD
  unit, weight = np.polynomial.legendre.leggauss(count)
  square_PD = np.stack(np.meshgrid(unit, unit), -1).reshape(-1, 2)
  mass_P = np.outer(weight, weight).reshape(-1) / 4
  x0_JPD = low_JD[:, None] + (high_JD - low_JD)[:, None] * (1 + square_PD) / 2
  mass_JP = np.exp(mixture.log_weight_J)[:, None] * mass_P
  if gaussian:
    z_JPD = (x0_JPD - mixture.mean_JD[:, None]) / mixture.sigma
    mass_JP = mass_JP * 18 ** 2 * np.exp(-0.5 * (z_JPD ** 2).sum(-1)) / (2 * np.pi)
  return x0_JPD, mass_JP


def joint(mixture, x_D, t) -> tuple[np.ndarray, np.ndarray]:
  """Nodes x_0 [J, P, 2] and w_j q(x_0 | j) q(x_t | x_0) times their weights, of one state x_t."""
  x0_JPD, mass_JP = nodes(mixture)
  square = ((x_D - (1 - t) * x0_JPD) ** 2).sum(-1)
  return x0_JPD, mass_JP * np.exp(-square / 2 / t ** 2) / (2 * np.pi * t ** 2)


def draws(mixture, count, seed=0) -> tuple[np.ndarray, np.ndarray]:
  """Examples [count, D] and their components."""
  rng = np.random.default_rng(seed)
  x0, components = zip(*(mixture.draw(rng) for _ in range(count)))
  return np.stack(x0), np.array(components)
