"""A small classifier whose hidden layer serves as the feature space.

For small images such as the digits, where no pretrained network is needed:
scikit-learn's MLPClassifier((128,), max_iter=400, random_state=0) on the
training images, features its 128 ReLU units.
"""

import numpy as np
from sklearn.neural_network import MLPClassifier


class Classifier:
  """Fitted to labelled images [M, H, W, C]."""

  def __init__(self, images: np.ndarray, labels: np.ndarray):
    self._model = MLPClassifier((128,), max_iter=400, random_state=0)
    self._model.fit(_flat(images), labels)

  def features(self, images: np.ndarray) -> np.ndarray:
    """Hidden activations, [M, 128]."""
    hidden = _flat(images) @ self._model.coefs_[0] + self._model.intercepts_[0]
    return np.maximum(hidden, 0)

  def accuracy(self, images: np.ndarray, labels: np.ndarray) -> float:
    """Share of images given their label."""
    return float((self._model.predict(_flat(images)) == labels).mean())


def _flat(images: np.ndarray) -> np.ndarray:
  return np.asarray(images, np.float32).reshape(len(images), -1)
