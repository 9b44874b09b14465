"""Mixtures whose noisy states have closed forms: Gaussian and uniform components.

In this package J counts the components of a mixture and D the dimensions of an
image, flattened. A component is a product over dimensions. Its noisy state
x_t = (1 - t) x_0 + t eps has, with v = (1 - t)^2 S^2 + t^2,

  Gaussian, x_0 ~ N(m, S^2 I):
    q_t(x)       = N(x; (1 - t) m, v I)
    q(x_0 | x)   = N(m + (1 - t) S^2 / v (x - (1 - t) m), S^2 t^2 / v I)
  uniform on the box [a, b]:
    q_t(x)       = prod (Phi(h) - Phi(l)) / ((1 - t) (b - a)),
                   l = ((1 - t) a - x) / t,  h = ((1 - t) b - x) / t
    q(x_0 | x)   : ((1 - t) x_0 - x) / t is standard normal, cut off at l and h.

At t = 1 the state is independent noise and q(x_0 | x) the data. Everything is a
function of states [..., D] and levels that broadcast against [...], computed in
the precision of JAX: enter `jax.enable_x64(True)` for float64.
"""

import dataclasses
import math
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammainc, ndtr

from ntm.truth import truncated_normal
from ntm.typing import Array, PRNGKey

_IN_MODE = 1 - math.exp(-4.5)  # Of a Gaussian within 3 standard deviations, in two dimensions.
_NO_NOISE = 1e-6  # Level that stands for t = 0 where a formula divides by it.


class Mixture(Protocol):
  """A distribution of data with exact noisy densities and posteriors.

  Attributes:
    log_weight_J: log probabilities of the components.
  """

  log_weight_J: np.ndarray

  def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """(x_0 [D], its component): one example."""

  def log_components(self, x: Array, t) -> Array:
    """log w_j + log q_t(x | j), [..., J], in nats."""

  def clean_moments(self, x: Array, t) -> tuple[Array, Array]:
    """Mean and variance of q(x_0 | x_t, j), both broadcast to [..., J, D]."""

  def sample_clean(self, rng: PRNGKey, x: Array, t, component: Array) -> Array:
    """Draws x_0 ~ q(x_0 | x_t, j) for one component [...] per state: [..., D]."""

  def cdf(self, x: Array, t) -> Array:
    """Distribution function of every component and dimension at the points x [P]: [P, J, D]."""

  def in_mode(self, x: Array, t) -> Array:
    """Whether a state at level t belongs to some component, bool [...]."""


@dataclasses.dataclass(frozen=True, eq=False)  # Hashable: static to `jax.jit`.
class GaussianMixture:
  """sum_j w_j N(m_j, S^2 I).

  A state is in a mode if it is in the ball around a (1 - t) m_j that holds
  1 - exp(-4.5), 98.9 %, of that component: 3 standard deviations for D = 2.

  Attributes:
    mean_JD: m.
    sigma: S.
    log_weight_J: log w; None is equal weights.

  Raises:
    ValueError: no component, a mean or weight that is not finite, a sigma that is
      not positive, weights that do not sum to 1.
  """

  mean_JD: np.ndarray
  sigma: float
  log_weight_J: np.ndarray | None = None

  def __post_init__(self):
    if np.ndim(self.mean_JD) != 2 or not np.size(self.mean_JD) or not np.isfinite(
        self.mean_JD).all():
      raise ValueError(f"mean_JD has shape {np.shape(self.mean_JD)}; expected finite means "
                       "(components, dimensions), at least one of each.")
    if not 0 < self.sigma < math.inf:
      raise ValueError(f"sigma is {self.sigma}; expected a positive standard deviation.")
    object.__setattr__(self, "log_weight_J", _log_weights(self.log_weight_J, len(self.mean_JD)))

  def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """See `Mixture.draw`."""
    j = _draw_component(rng, self.log_weight_J)
    return self.mean_JD[j] + self.sigma * rng.standard_normal(self.mean_JD.shape[1]), j

  def log_components(self, x: Array, t) -> Array:
    """See `Mixture.log_components`."""
    offset, _, variance = self._offset(x, t)
    log_J = -0.5 * (offset ** 2 / variance + jnp.log(2 * math.pi * variance)).sum(axis=-1)
    return self.log_weight_J + log_J

  def clean_moments(self, x: Array, t) -> tuple[Array, Array]:
    """See `Mixture.clean_moments`."""
    offset, t, variance = self._offset(x, t)
    mean = self.mean_JD + (1 - t) * self.sigma ** 2 / variance * offset
    return mean, jnp.broadcast_to(self.sigma ** 2 * t ** 2 / variance, mean.shape)

  def sample_clean(self, rng: PRNGKey, x: Array, t, component: Array) -> Array:
    """See `Mixture.sample_clean`."""
    mean, variance = (_of(component, part) for part in self.clean_moments(x, t))
    return mean + jnp.sqrt(variance) * jax.random.normal(rng, mean.shape, mean.dtype)

  def cdf(self, x: Array, t) -> Array:
    """See `Mixture.cdf`."""
    variance = (1 - t) ** 2 * self.sigma ** 2 + t ** 2
    return ndtr((jnp.asarray(x)[:, None, None] - (1 - t) * self.mean_JD) / jnp.sqrt(variance))

  def in_mode(self, x: Array, t) -> Array:
    """See `Mixture.in_mode`."""
    offset, _, variance = self._offset(x, t)
    radius_J = (offset ** 2 / variance).sum(axis=-1)
    return (gammainc(self.mean_JD.shape[1] / 2, radius_J / 2) <= _IN_MODE).any(axis=-1)

  def _offset(self, x, t):
    """x - (1 - t) m [..., J, D], and t and v with the axes of it."""
    t = jnp.asarray(t)[..., None, None]
    return (jnp.asarray(x)[..., None, :] - (1 - t) * self.mean_JD, t,
            (1 - t) ** 2 * self.sigma ** 2 + t ** 2)


@dataclasses.dataclass(frozen=True, eq=False)  # Hashable: static to `jax.jit`.
class UniformMixture:
  """sum_j w_j U[a_j, b_j], boxes.

  A state at level t is in a mode if it is in a box (1 - t) [a, b] with a margin of 3 t.
  Where a formula divides by the level, t = 0 is taken as 1e-6.

  Attributes:
    low_JD: a.
    high_JD: b, above a.
    log_weight_J: log w; None is equal weights.

  Raises:
    ValueError: no component, a box without inside, weights that do not sum to 1.
  """

  low_JD: np.ndarray
  high_JD: np.ndarray
  log_weight_J: np.ndarray | None = None

  def __post_init__(self):
    if np.ndim(self.low_JD) != 2 or not np.size(self.low_JD) or not (
        np.asarray(self.low_JD) < np.asarray(self.high_JD)).all():
      raise ValueError(f"low_JD has shape {np.shape(self.low_JD)}; expected boxes (components, "
                       "dimensions), at least one of each, with low below high.")
    object.__setattr__(self, "log_weight_J", _log_weights(self.log_weight_J, len(self.low_JD)))

  def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """See `Mixture.draw`."""
    j = _draw_component(rng, self.log_weight_J)
    return rng.uniform(self.low_JD[j], self.high_JD[j]), j

  def log_components(self, x: Array, t) -> Array:
    """See `Mixture.log_components`."""
    low, high, t = self._bounds(x, t)
    noise = -0.5 * (jnp.asarray(x)[..., None, :] ** 2 + math.log(2 * math.pi))
    log_mass = truncated_normal.log_mass(low, high) - jnp.log(
        (self.high_JD - self.low_JD) * jnp.where(t < 1, 1 - t, 1))
    return self.log_weight_J + jnp.where(t < 1, log_mass, noise).sum(axis=-1)

  def clean_moments(self, x: Array, t) -> tuple[Array, Array]:
    """See `Mixture.clean_moments`."""
    low, high, _ = self._bounds(x, t)
    mean, variance = truncated_normal.moments(low, high)
    half = (self.high_JD - self.low_JD) / 2
    return self.low_JD + half * (1 + mean), half ** 2 * variance

  def sample_clean(self, rng: PRNGKey, x: Array, t, component: Array) -> Array:
    """See `Mixture.sample_clean`."""
    low, high, t = self._bounds(x, t)
    low, high, t = _of(component, low), _of(component, high), t[..., 0]
    share = jax.random.uniform(rng, low.shape, low.dtype)
    inside = (x + t * truncated_normal.quantile(share, low, high)) / jnp.where(t < 1, 1 - t, 1)
    a, b = jnp.asarray(self.low_JD)[component], jnp.asarray(self.high_JD)[component]
    return jnp.clip(jnp.where(t < 1, inside, a + share * (b - a)), a, b)

  def cdf(self, x: Array, t) -> Array:
    """See `Mixture.cdf`: the distribution function of a uniform and a normal variable's sum."""
    low, high, t = self._bounds(jnp.asarray(x)[:, None], t)
    integral = lambda z: z * ndtr(z) + jnp.exp(-0.5 * z ** 2) / math.sqrt(2 * math.pi)
    rest = jnp.where(t < 1, 1 - t, 1)
    smooth = t / rest / (self.high_JD - self.low_JD) * (integral(-low) - integral(-high))
    return jnp.where(t < 1, smooth, ndtr(jnp.asarray(x)[:, None, None]))

  def in_mode(self, x: Array, t) -> Array:
    """See `Mixture.in_mode`."""
    low, high, _ = self._bounds(x, t)
    return ((low <= 3) & (high >= -3)).all(axis=-1).any(axis=-1)

  def _bounds(self, x, t):
    """l and h [..., J, D], and t, positive, with the axes of them."""
    x, t = jnp.asarray(x)[..., None, :], jnp.asarray(t)[..., None, None]
    t = jnp.maximum(t, _NO_NOISE)
    return ((1 - t) * self.low_JD - x) / t, ((1 - t) * self.high_JD - x) / t, t


def _of(component, values):
  """The entries [..., D] of one component per state."""
  return jnp.take_along_axis(values, component[..., None, None], axis=-2)[..., 0, :]


def _draw_component(rng, log_weight_J):
  return int(np.searchsorted(np.cumsum(np.exp(log_weight_J))[:-1], rng.random(), side="right"))


def _log_weights(log_weight_J, count):
  """Log weights as given, or equal ones; raises ValueError unless they are probabilities."""
  if log_weight_J is None:
    return np.full(count, -math.log(count))
  log_weight_J = np.asarray(log_weight_J, np.float64)
  if log_weight_J.shape != (count,) or not np.isclose(np.exp(log_weight_J).sum(), 1):
    raise ValueError(f"log_weight_J is {log_weight_J}; expected the logarithms of {count} weights "
                     "that sum to 1.")
  return log_weight_J
