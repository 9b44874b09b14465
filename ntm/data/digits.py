"""scikit-learn's digits, as they are or endless, under random affine maps."""

import numpy as np

from ntm.data import affine

_TRAIN = 1500
_STREAMS = {"train": 0, "test": 1, "fresh": 2}  # Of random maps.
_AT_A_TIME = 4096  # Images mapped at once: fits in caches, four times faster than 100,000.


class Digits:
  """scikit-learn's 1,797 handwritten digits, 8 x 8: the first 1,500 train.

  A class `left_out` is in neither split; 'left_out' is the split that has all
  of it.
  """

  num_classes = 10

  def __init__(self, split: str, left_out: int = -1):
    try:
      from sklearn import datasets
    except ImportError as error:
      raise ImportError("the digits need scikit-learn: pip install 'ntm[digits]'") from error
    digits = datasets.load_digits()
    labels = digits.target.astype(np.int32)
    in_train = np.arange(len(labels)) < _TRAIN
    chosen = {"train": in_train & (labels != left_out), "test": ~in_train & (labels != left_out),
              "left_out": labels == left_out}[split]
    self._images = (digits.images[chosen, ..., None] / 8 - 1).astype(np.float32)
    self._labels, self._left_out = labels[chosen], left_out

  def __len__(self) -> int:
    return len(self._images)

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    return {"image": self._images[index], "label": self._labels[index]}

  def batch(self, indices: np.ndarray) -> dict[str, np.ndarray]:
    """The examples at [M] indices, {"image": [M, 8, 8, 1] float32, "label": [M] int32}."""
    return {"image": self._images[indices], "label": self._labels[indices]}

  def record(self) -> list[str]:
    """Number of the digits and the class that is left out."""
    return [f"{len(self)} digits, class {self._left_out} left out"]


class EndlessDigits:
  """Digits under random affine maps: every index is an independent draw, made when it is read.

  An example is a digit of the split drawn uniformly, under a map of `ntm.data.affine`;
  both are functions of (split, index) alone. The split 'fresh' has the digits of
  'train' under other maps, as draws of the training distribution that no run is
  trained on.
  """

  num_classes = 10

  def __init__(self, split: str, left_out: int = -1):
    self._digits = Digits("train" if split == "fresh" else split, left_out)
    self._split = split

  def __len__(self) -> int:
    return 2 ** 30  # Grain shuffles up to 2^32 indices.

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    return {name: values[0] for name, values in self.batch(np.array([index])).items()}

  def batch(self, indices: np.ndarray) -> dict[str, np.ndarray]:
    """The examples at [M] indices, {"image": [M, 8, 8, 1] float32, "label": [M] int32}."""
    parts = [self._map(indices[start:start + _AT_A_TIME])
             for start in range(0, len(indices), _AT_A_TIME)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

  def _map(self, indices):
    u = affine.uniforms(_STREAMS[self._split], indices)
    digits = self._digits.batch((u[:, 0] * len(self._digits)).astype(np.int64))
    return digits | {"image": affine.transform(digits["image"], *affine.maps(u[:, 1:]))}

  def record(self) -> list[str]:
    """The record of the originals, under random maps."""
    return [f"{line}, under random affine maps" for line in self._digits.record()]
