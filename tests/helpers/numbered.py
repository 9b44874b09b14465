"""A source whose examples say which one they are, to test orders of data with."""

import numpy as np


class Numbers:
  """Examples with their index as image and as label."""

  def __init__(self, count):
    self._count = count

  def __len__(self):
    return self._count

  def __getitem__(self, index):
    return {"image": np.full((1, 1, 1), index, np.float32), "label": np.int32(index)}


def labels(iterator, count):
  """The labels of the next `count` batches, [count, batch]."""
  return np.stack([next(iterator)["label"] for _ in range(count)])
