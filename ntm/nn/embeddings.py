"""Embeddings of time, number of steps, class and position."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from ntm.nn import layers
from ntm.nn.numerics import Numerics
from ntm.nn.partitioning import constrain
from ntm.typing import Array, Condition


def sinusoidal(t, width: int = 128, fastest: float = 1000.0) -> Array:
  """[cos, sin](2 pi f t), f spaced geometrically from 1/16 to fastest / 2 pi.

  Times stay in float32 (or float64): a bfloat16 t times 1000 would not
  tell neighbouring levels apart.

  Args:
    t: any shape, in [0, 1].
    width: of the result, even.
    fastest: largest angular frequency.

  Returns:
    [..., width] in t's type.
  """
  frequencies = np.geomspace(np.pi / 8, fastest, width // 2)
  angles = t[..., None] * jnp.asarray(frequencies, t.dtype)
  return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)


def condition_scalars(cond: Condition) -> dict[str, Array]:
  """The numbers in [0, 1] of a condition whose times are [B, G], by name, [B, G] or [B, 1]."""
  scalars = {"time": cond.time_B}
  if cond.next_time_B is not None:
    scalars["next_time"] = cond.next_time_B
  if cond.num_steps_B is not None:
    scalars["steps"] = (1.0 / cond.num_steps_B.astype(cond.time_B.dtype))[:, None]
  return scalars


class ScalarEmbedding(nn.Module):
  """Sinusoids of a number in [0, 1] through two linear layers: [...] → [..., D].

  Attributes:
    width: D.
    zero: start the last layer at zero.
    numerics: types, rematerialisation.
  """

  width: int
  zero: bool = False
  numerics: Numerics = Numerics()

  @nn.compact
  def __call__(self, value: Array) -> Array:
    """Embeds `value`, any shape."""
    types = self.numerics.types
    h = sinusoidal(value).astype(self.numerics.dtype)
    h = layers.dense(self.width, (None, "embed"), name="in", **types)(h)
    h = constrain(h, "batch", *[None] * value.ndim)
    return layers.dense(self.width, ("embed", None), zero=self.zero, name="out", **types)(
        nn.silu(h))


class LabelEmbedding(nn.Module):
  """One learned vector per class and one for the null class: [B] → [B, D]."""

  num_classes: int
  width: int
  numerics: Numerics = Numerics()

  @nn.compact
  def __call__(self, label_B: Array) -> Array:
    """Embeds labels 0 .. num_classes, the last being the null class."""
    init = nn.with_logical_partitioning(nn.initializers.normal(1.0), (None, "embed"))
    table = self.param("table", init, (self.num_classes + 1, self.width),
                       self.numerics.param_dtype)
    # Whole for the lookup: columns split over the devices of the examples that look up rows
    # would have to be exchanged for them.
    table = constrain(jnp.asarray(table, self.numerics.dtype), None, None)
    return constrain(table[label_B], "batch", None)


class PositionEmbedding(nn.Module):
  """A learned vector for every position, added: [..., M, D] → [..., M, D].

  Rotary positions are relative; digits and faces sit at absolute places.
  """

  numerics: Numerics = Numerics()

  @nn.compact
  def __call__(self, h_BMD: Array, length: int, index: Array | None = None) -> Array:
    """Adds the table, or its rows `index` [M] when decoding."""
    init = nn.with_logical_partitioning(nn.initializers.normal(0.02), (None, "embed"))
    table = self.param("table", init, (length, h_BMD.shape[-1]),
                       self.numerics.param_dtype)
    rows = table if index is None else table[index]
    return h_BMD + rows.astype(h_BMD.dtype)
