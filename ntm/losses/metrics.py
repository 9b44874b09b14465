"""Metrics of a batch as sums, so that accumulation and devices simply add them."""

from typing import Self

import flax.struct
import jax
import jax.numpy as jnp


@flax.struct.dataclass
class Sums:
  """Base of metrics whose every field is a sum over examples."""

  def zeros(self) -> Self:
    """The metrics of no example, of the same shapes: neutral in `merge`."""
    return jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), self)

  def merge(self, other: Self) -> Self:
    """The metrics of both batches together."""
    return jax.tree.map(jnp.add, self, other)
