"""Monotone maps of every entry of the tokens, with parameters that a block reads off its network.

A map is a pytree of parameters with the methods of `Map`. Blocks and solvers know no more of it, so
another map is one class here and one line in `Maps.read`:

- `Affine`: u = (x - mu) / sigma.
- `AffineSpline`: the same, then a monotone rational-quadratic spline (`ntm.flows.spline`).

All arithmetic is in the type of the parameters, float32 or better.
"""

import dataclasses
from typing import Protocol

import flax.struct
import jax.numpy as jnp

from ntm.flows import bijector
from ntm.flows import spline as spline_lib
from ntm.typing import Array


class Map(Protocol):
  """One map per entry."""

  def forward(self, x_BMC: Array) -> tuple[Array, Array]:
    """(u_BMC, log du/dx [B, M, C])."""

  def inverse(self, u_BMC: Array) -> tuple[Array, Array]:
    """(x_BMC, log dx/du [B, M, C])."""

  def diagnostics(self, x_BMC: Array) -> dict[str, Array]:
    """What `bijector.report` takes."""


@flax.struct.dataclass
class Affine:
  """u = (x - mean) exp(-log_scale).

  Attributes:
    mean: of every entry.
    log_scale: likewise.
  """

  mean: Array
  log_scale: Array

  def forward(self, x_BMC: Array) -> tuple[Array, Array]:
    """See `Map`."""
    return (x_BMC - self.mean) * jnp.exp(-self.log_scale), -self.log_scale

  def inverse(self, u_BMC: Array) -> tuple[Array, Array]:
    """See `Map`."""
    return self.mean + jnp.exp(self.log_scale) * u_BMC, self.log_scale

  def diagnostics(self, x_BMC: Array) -> dict[str, Array]:
    """The range of the log-scales."""
    del x_BMC
    return {"log_scale": bijector.log_scale_range(self.log_scale)}


@flax.struct.dataclass
class AffineSpline:
  """A spline of what `affine` gives.

  Attributes:
    affine: comes first in the forward direction.
    spline: comes second.
  """

  affine: Affine
  spline: spline_lib.Spline

  def forward(self, x_BMC: Array) -> tuple[Array, Array]:
    """See `Map`."""
    middle_BMC, affine_BMC = self.affine.forward(x_BMC)
    u_BMC, spline_BMC = self.spline.forward(middle_BMC)
    return u_BMC, affine_BMC + spline_BMC

  def inverse(self, u_BMC: Array) -> tuple[Array, Array]:
    """See `Map`."""
    middle_BMC, spline_BMC = self.spline.inverse(u_BMC)
    x_BMC, affine_BMC = self.affine.inverse(middle_BMC)
    return x_BMC, affine_BMC + spline_BMC

  def diagnostics(self, x_BMC: Array) -> dict[str, Array]:
    """The range of the log-scales, and the share of entries that the spline leaves as they are."""
    inside = self.spline.inside(self.affine.forward(x_BMC)[0])
    return self.affine.diagnostics(x_BMC) | {"outside": 1 - inside.mean(dtype=x_BMC.dtype)}


@dataclasses.dataclass(frozen=True)
class Maps:
  """Which map a block reads off its network.

  Attributes:
    log_scale_bound: b; log sigma = b tanh(raw / b).
    spline_bins: K; 0 is an affine map.
    spline_range: R; the spline is the identity outside [-R, R].
  """

  log_scale_bound: float = 3.0
  spline_bins: int = 0
  spline_range: float = 4.0

  @property
  def num_parameters(self) -> int:
    """P, parameters per channel: mean and log-scale, then those of the spline."""
    return 2 + (3 * self.spline_bins - 1 if self.spline_bins else 0)

  def read(self, raw_BMPC: Array) -> Map:
    """The map of unconstrained parameters; zeros are the identity."""
    bound = self.log_scale_bound
    affine = Affine(raw_BMPC[..., 0, :], bound * jnp.tanh(raw_BMPC[..., 1, :] / bound))
    if not self.spline_bins:
      return affine
    return AffineSpline(affine, spline_lib.from_raw(raw_BMPC[..., 2:, :], self.spline_range))
