"""Any number of images, a fixed number at a time."""

from collections.abc import Callable, Iterator

import jax
import numpy as np

from ntm.typing import PRNGKey

Progress = Callable[[int, int], None]  # Called with (images done, images in all).
SIZE = 256  # Bounds memory, and every call compiles once.


def draw(generate: Callable, rng: PRNGKey, label_B: np.ndarray | None, count: int,
         progress: Progress | None = None) -> np.ndarray:
  """`count` images of a generator of fixed batch size.

  Args:
    generate: (rng, label_B or None, batch size) → images.
    rng: a key.
    label_B: class indices or text features, or None.
    count: images; that of the labels if there are any.
    progress: called with (images done, count) after every call.
  """
  images = []
  for i, (size, part) in enumerate(_parts(label_B, count)):
    images.append(np.asarray(generate(jax.random.fold_in(rng, i), part, size)))
    if progress:
      progress(min((i + 1) * size, count), count)
  return np.concatenate(images)[:count]


def _parts(label_B, count) -> Iterator[tuple[int, np.ndarray | None]]:
  """(batch size, labels) of every call, the last one filled up."""
  size = min(count, SIZE)
  for start in range(0, count, size):
    yield size, None if label_B is None else fill(label_B[start:start + size], size)


def fill(rows: np.ndarray, size: int) -> np.ndarray:
  """`size` rows, repeated from the first if there are fewer."""
  return np.resize(rows, (size,) + rows.shape[1:])
