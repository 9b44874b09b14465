"""A function of a batch, some examples at a time: its memory does not grow with the batch."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from ntm.nn import partitioning


def in_rounds(function: Callable, batch, most: int):
  """`function` of parts of a batch in turn, put together.

  Args:
    function: arrays [b, ...] → arrays [b, ...], in which no example reads another.
    batch: arrays [B, ...].
    most: examples per device at a time, where B can be divided so.
  """
  ways, mesh = 1, jax.sharding.get_abstract_mesh()
  if not mesh.empty:
    ways = math.prod(mesh.shape[name] for name in dict(partitioning.RULES)["batch"])
  size = len(jax.tree.leaves(batch)[0])
  rounds = [n for n in range(1, size + 1) if size % n == 0 and size // n <= max(most, 1) * ways]
  # Parts that the devices share evenly, if there are any.
  rounds = next((n for n in rounds if (size // n) % ways == 0), rounds[0])
  if rounds == 1:
    return _split(function(_split(batch)))
  # Part i has examples i::rounds, so that no example moves to another device.
  parts = jax.tree.map(
      lambda a: jnp.moveaxis(a.reshape(-1, rounds, *a.shape[1:]), 1, 0), batch)
  out = jax.lax.map(lambda part: _split(function(_split(part))), parts)
  return _split(jax.tree.map(
      lambda a: jnp.moveaxis(a, 0, 1).reshape(size, *a.shape[2:]), out))


def _split(tree):
  return jax.tree.map(
      lambda a: partitioning.constrain(a, "batch", *[None] * (a.ndim - 1)), tree)
