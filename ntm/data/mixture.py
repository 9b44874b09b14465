"""Endless examples of a distribution whose density is known, see `ntm.truth`."""

import numpy as np

from ntm.config import DataConfig
from ntm.truth import named

_EXAMPLES = {"train": 2**30, "test": 2**20}


class Mixture:
  """Example i of a split is one draw, a pure function of (split, i).

  Training goes through the 2^30 of them in an order that depends on its seed. The label
  is the component.

  Attributes:
    num_classes: components.
  """

  def __init__(self, data: DataConfig, split: str, image_shape: tuple[int, ...]):
    self._mixture = named.build(data, image_shape)
    self._data, self._split, self._shape = data, split, image_shape
    self.num_classes = len(self._mixture.log_weight_J)

  def __len__(self) -> int:
    return _EXAMPLES[self._split]

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng([self._split == "train", index])
    x0, component = self._mixture.draw(rng)
    return {"image": x0.astype(np.float32).reshape(self._shape), "label": np.int32(component)}

  def record(self) -> list[str]:
    """Name and settings of the mixture, and the split."""
    return [f"{self._data.mixture}, noise {self._data.noise}, {self.num_classes} components, "
            f"{self._split}"]
