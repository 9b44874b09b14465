"""Texts of a batch, padded no further than the longest of them needs.

The lengths are static and few, and a program has a branch for each. The devices choose the
branch, by the mask of the whole batch: it is the same on every device and process, and a function
of the batch alone, so that a resumed run repeats it.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ntm.losses.inputs import Batch

_TOKENS = ("ids", "mask")


def at_shortest(function: Callable[[Batch], Any], batch: Batch, lengths: tuple[int, ...]) -> Any:
  """`function` of the batch, its texts cut to the shortest length that cuts no token off.

  Args:
    function: of a batch, which reads no padding.
    batch: with "ids" and "mask", [B, M].
    lengths: ascending, the last one M; none leave the texts as they are.
  """
  if not lengths:
    return function(batch)
  longest = jnp.max(jnp.where(batch["mask"], jnp.arange(1, lengths[-1] + 1), 0))

  def cut(length):
    return lambda batch: function(batch | {name: batch[name][:, :length] for name in _TOKENS})

  return jax.lax.switch(jnp.searchsorted(jnp.array(lengths), longest), list(map(cut, lengths)),
                        batch)
