"""Any number of images, a fixed number at a time."""

from collections.abc import Callable

import jax
import numpy as np

from ntm.typing import Condition, PRNGKey

Progress = Callable[[int, int], None]  # Called with (images done, images in all).
SIZE = 256  # Bounds memory, and every call compiles once.


def draw(generate: Callable, rng: PRNGKey, cond: Condition, count: int,
         progress: Progress | None = None, size: int | None = None, offset: int = 0) -> np.ndarray:
  """`count` images of a generator of fixed batch size.

  Args:
    generate: (rng, cond, batch size) → images.
    rng: a key.
    cond: class or text of every image; of an unconditional model, without either.
    count: images.
    progress: called with (images done, count) after every call.
    size: images of a call; None for as many as there are with those before, at most 256.
    offset: images of the same key that come before these: they have the noise of one series.

  Raises:
    ValueError: an offset that is not a multiple of the size.
  """
  images, size = [], size or min(offset + count, SIZE)
  if offset < 0 or offset % size:
    raise ValueError(f"offset is {offset}; expected a multiple of {size}, the number of images "
                     "that are drawn at a time.")
  for i, start in enumerate(range(0, count, size)):
    part = jax.tree.map(lambda rows, start=start: rows[start:start + size], cond)
    key = jax.random.fold_in(rng, offset // size + i)
    images.append(np.asarray(generate(key, fill(part, size), size)))
    if progress:
      progress(min((i + 1) * size, count), count)
  return np.concatenate(images)[:count]


def fill(tree, size: int):
  """Arrays of `size` rows, repeated from the first where there are fewer."""
  return jax.tree.map(lambda rows: np.resize(rows, (size,) + rows.shape[1:]), tree)
