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
_LEAST_SQUARE = 1e-20  # Under a root that rounding may make negative.


@flax.struct.dataclass
class Spline:
  """A spline for every entry of an array.

  Attributes:
    widths: of the bins, [..., K, C] for arrays [..., C]; they add up to 2 R.
    heights: likewise.
    log_ratio: of the slope at every inner knot to the harmonic mean of those of its two bins,
      [..., K - 1, C].
    limit: R.
  """

  widths: Array
  heights: Array
  log_ratio: Array
  limit: float = flax.struct.field(pytree_node=False)

  def forward(self, x: Array) -> tuple[Array, Array]:
    """(u, log du/dx), entry by entry."""
    inside = self.inside(x)
    safe = jnp.where(inside, x, 0)
    u, log_slope = self._bin(safe, self.widths).forward(safe)
    return jnp.where(inside, u, x), jnp.where(inside, log_slope, 0)

  def inverse(self, u: Array) -> tuple[Array, Array]:
    """(x, log dx/du), entry by entry."""
    inside = self.inside(u)
    safe = jnp.where(inside, u, 0)
    x, log_slope = self._bin(safe, self.heights).inverse(safe)
    return jnp.where(inside, x, u), jnp.where(inside, -log_slope, 0)

  def inside(self, x: Array) -> Array:
    """Whether an entry is strictly within [-R, R]; elsewhere the spline is the identity."""
    return jnp.abs(x) < self.limit

  def _bin(self, value, sizes):
    """The bin of each entry, looked up along one of the axes.

    Comparisons and masked sums: neither gathers nor scatters, forward or backward.
    """
    knots = jax.lax.stop_gradient(jnp.cumsum(sizes[..., :-1, :], axis=-2)) - self.limit
    index = (value[..., None, :] >= knots).sum(axis=-2, keepdims=True)
    offset = jnp.arange(sizes.shape[-2])[:, None] - index  # Of every bin from this one.
    total = lambda a, mask: jnp.where(mask, a, 0).sum(axis=-2)
    sizes_of = lambda mask: (total(self.widths, mask), total(self.heights, mask))
    x, u = (size - self.limit for size in sizes_of(offset < 0))
    here = sizes_of(offset == 0)
    slopes = (_slope(*here, *sizes_of(offset == side),
                     total(self.log_ratio, offset[..., :-1, :] == min(side, 0)))
              for side in (-1, 1))
    return _Bin(x, u, *here, *slopes)


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
  sizes = lambda raw: 2 * limit * (
      LEAST_SHARE + (1 - LEAST_SHARE * bins) * jax.nn.softmax(raw, axis=-2))
  return Spline(sizes(widths), sizes(heights),
                LOG_RATIO_BOUND * jnp.tanh(slopes / LOG_RATIO_BOUND), limit)


def _slope(width, height, next_width, next_height, log_ratio):
  """Of the knot between two bins; 1 if there is none on the other side, whose width is then 0."""
  end = next_width == 0
  mean, next_mean = height / width, jnp.where(end, 1, next_height) / jnp.where(end, 1, next_width)
  return jnp.where(end, 1, 2 * mean * next_mean / (mean + next_mean) * jnp.exp(log_ratio))


@flax.struct.dataclass
class _Bin:
  """The bin of each entry: its lower knot, its sizes, and the slopes of both knots."""

  x: Array
  u: Array
  width: Array
  height: Array
  slope: Array
  next_slope: Array

  def forward(self, x):
    """(u, log du/dx)."""
    step = x - self.x
    rise, log_slope = self._rise(step)
    return x + ((self.u - self.x) + (rise - step)), log_slope

  def inverse(self, u):
    """(x, log du/dx)."""
    rise = u - self.u
    mean, share = self.height / self.width, rise / self.height
    b = self.slope - (self.slope + self.next_slope - 2 * mean) * share
    a = mean - b
    root = jnp.sqrt(jnp.maximum(b * b + 4 * a * mean * share, _LEAST_SQUARE))
    # The root in [0, 1], without cancellation for either sign of b; a > 0 if b < 0.
    step = jnp.where(b < 0, self.width * (root - b) / jnp.where(b < 0, 2 * a, 1),
                     2 * rise / jnp.where(b < 0, 1, b + root))
    return u + ((self.x - self.u) + (step - rise)), self._rise(step)[1]

  def _rise(self, step):
    """(u - u_k, log du/dx) at a distance from the lower knot."""
    mean, t, rest = self.height / self.width, step / self.width, 1 - step / self.width
    d, d_next = self.slope, self.next_slope
    denominator = mean + (d + d_next - 2 * mean) * t * rest
    first = _interpolate(d, mean, t, rest)
    numerator = _interpolate(first, _interpolate(mean, d_next, t, rest), t, rest)
    return (mean * step * first / denominator,
            jnp.log(numerator) + 2 * jnp.log(mean / denominator))


def _interpolate(a, b, t, rest):
  """rest a + t b for t + rest = 1; exactly a if a = b, and accurate where a and b differ a lot."""
  return jnp.where(t < rest, a + (b - a) * t, b + (a - b) * rest)
