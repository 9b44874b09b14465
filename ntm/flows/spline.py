"""Monotone rational-quadratic splines (Durkan et al. 2019, arXiv 1906.04032).

K bins divide [-R, R] on both axes; knot k is (x_k, u_k) with slope d_k, and outside the
map is the identity. In the bin of x, of width w and height h, with s = h / w,
t = (x - x_k) / w and the linear interpolation (a, b)_t = (1 - t) a + t b,

  u = u_k + s (x - x_k) (d_k, s)_t / D,       D = s + (d_k + d_{k+1} - 2 s) t (1 - t),
  du/dx = s^2 ((d_k, s)_t, (s, d_{k+1})_t)_t / D^2.

Slopes are 1 at both ends, so u is C1 everywhere. The inverse solves one quadratic,

  a t^2 + b t = s e,   e = (u - u_k) / h,   b = d_k - (d_k + d_{k+1} - 2 s) e,   a = s - b.

Both directions are written as the input plus a displacement that is exactly zero if x_k = u_k
and all slopes are 1, as they are for raw parameters of zero.
"""

import flax.struct
import jax
import jax.numpy as jnp

from ntm.typing import Array

LEAST_SHARE = 1e-3  # Of the range, in one bin.
LOG_RATIO_BOUND = 2.0  # Of a knot's slope to the harmonic mean of its bins' slopes.


@flax.struct.dataclass
class Spline:
  """A spline for every entry of an array.

  Attributes:
    x: knots, ascending from -R to R, [..., K + 1, C] for arrays [..., C].
    u: their images, likewise.
    slope: at the knots, likewise.
  """

  x: Array
  u: Array
  slope: Array

  def forward(self, x: Array) -> tuple[Array, Array]:
    """(u, log du/dx), entry by entry."""
    inside = self.inside(x)
    bin_ = _bin(self, jnp.where(inside, x, 0), self.x)
    u, log_slope = bin_.forward(jnp.where(inside, x, 0))
    return jnp.where(inside, u, x), jnp.where(inside, log_slope, 0)

  def inverse(self, u: Array) -> tuple[Array, Array]:
    """(x, log dx/du), entry by entry."""
    inside = self.inside(u)
    bin_ = _bin(self, jnp.where(inside, u, 0), self.u)
    x, log_slope = bin_.inverse(jnp.where(inside, u, 0))
    return jnp.where(inside, x, u), jnp.where(inside, -log_slope, 0)

  def inside(self, x: Array) -> Array:
    """Whether an entry is within [-R, R], where the spline differs from the identity."""
    return (x >= self.x[..., 0, :]) & (x <= self.x[..., -1, :])


def from_raw(raw: Array, limit: float) -> Spline:
  """The spline of unconstrained parameters; zeros are the identity.

  Args:
    raw: K widths, K heights and K - 1 slopes, [..., 3 K - 1, C].
    limit: R.

  Returns:
    Bins whose width and height are at least LEAST_SHARE of the range. The slope of a knot is
    exp(b tanh(raw / b)), b = LOG_RATIO_BOUND, times the harmonic mean of the slopes of the bins
    on both sides: next to a flat bin it is small, so no slope inside a bin is far below its mean.
  """
  bins = (raw.shape[-2] + 1) // 3
  widths, heights, slopes = jnp.split(raw, (bins, 2 * bins), axis=-2)
  x, u = _knots(widths, limit), _knots(heights, limit)
  mean = jnp.diff(u, axis=-2) / jnp.diff(x, axis=-2)
  left, right = mean[..., :-1, :], mean[..., 1:, :]
  ratio = jnp.exp(LOG_RATIO_BOUND * jnp.tanh(slopes / LOG_RATIO_BOUND))
  ends = jnp.ones_like(raw[..., :1, :])
  slope = jnp.concatenate([ends, ratio * (2 * left * right / (left + right)), ends], axis=-2)
  return Spline(x, u, slope)


def _knots(raw, limit):
  """K + 1 knots from the raw shares of K bins."""
  shares = LEAST_SHARE + (1 - LEAST_SHARE * raw.shape[-2]) * jax.nn.softmax(raw, axis=-2)
  end = jnp.full_like(raw[..., :1, :], limit)
  inner = limit * (2 * jnp.cumsum(shares[..., :-1, :], axis=-2) - 1)
  return jnp.concatenate([-end, inner, end], axis=-2)


@flax.struct.dataclass
class _Bin:
  """The bin that holds each entry: its knots, and the slopes there."""

  x0: Array
  x1: Array
  u0: Array
  u1: Array
  d0: Array
  d1: Array

  def forward(self, x):
    """(u, log du/dx)."""
    step = x - self.x0
    rise, log_slope = self._rise(step, self.x1 - x)
    return x + ((self.u0 - self.x0) + (rise - step)), log_slope

  def inverse(self, u):
    """(x, log du/dx)."""
    width, height, rise = self.x1 - self.x0, self.u1 - self.u0, u - self.u0
    mean, share = height / width, rise / height
    b = self.d0 - (self.d0 + self.d1 - 2 * mean) * share
    a = mean - b
    root = jnp.sqrt(jnp.maximum(b * b + 4 * a * mean * share, _TINY))
    # The root in [0, 1], without cancellation for either sign of b; a > 0 if b < 0.
    falls = b < 0
    step = jnp.where(falls, width * (root - b) / jnp.where(falls, 2 * a, 1),
                     2 * rise / jnp.where(falls, 1, b + root))
    step = jnp.clip(step, 0, width)
    return u + ((self.x0 - self.u0) + (step - rise)), self._rise(step, width - step)[1]

  def _rise(self, step, rest):
    """(u - u_0, log du/dx) from the distances to both knots."""
    width = self.x1 - self.x0
    mean, t, r = (self.u1 - self.u0) / width, step / width, rest / width
    denominator = mean + (self.d0 + self.d1 - 2 * mean) * t * r
    first = _interpolate(self.d0, mean, t, r)
    numerator = _interpolate(first, _interpolate(mean, self.d1, t, r), t, r)
    return (mean * step * first / denominator,
            jnp.log(numerator) + 2 * jnp.log(mean / denominator))


_TINY = 1e-20


def _interpolate(a, b, t, r):
  """t b + r a for t + r = 1; exactly a if a = b, and never a difference of like numbers."""
  return jnp.where(t < r, a + (b - a) * t, b + (a - b) * r)


def _bin(spline, value, knots):
  """The bin of each entry, looked up along one of the axes."""
  # A comparison and a masked sum: neither gathers nor scatters, forward or backward.
  beyond = value[..., None, :] >= knots[..., 1:-1, :]
  always = jnp.ones_like(beyond[..., :1, :])
  here = jnp.concatenate([always, beyond], axis=-2) & ~jnp.concatenate([beyond, ~always], axis=-2)
  take = lambda a: jnp.where(here, a, 0).sum(axis=-2)
  return _Bin(*(take(a) for knot in (spline.x, spline.u, spline.slope)
                for a in (knot[..., :-1, :], knot[..., 1:, :])))
