"""A small classifier whose hidden layer serves as the feature space.

For small images such as the digits, where no pretrained network is needed:
scikit-learn's MLPClassifier((128,), max_iter=400, random_state=0) on the
training images, features its 128 ReLU units.
"""

import dataclasses
import os
import warnings

import numpy as np


@dataclasses.dataclass(frozen=True)
class Classifier:
  """A layer of 128 ReLU units, and logits.

  Attributes:
    hidden_weights: [D, 128] from the D values of an image.
    hidden_biases: [128].
    output_weights: [128, n]; of two classes n is 1, the logit of the second one.
    output_biases: [n].
    classes: labels, in the order of the logits.
  """

  hidden_weights: np.ndarray
  hidden_biases: np.ndarray
  output_weights: np.ndarray
  output_biases: np.ndarray
  classes: np.ndarray

  @classmethod
  def fit(cls, images: np.ndarray, labels: np.ndarray, epochs: int = 400) -> "Classifier":
    """Fits to labelled images [M, H, W, C], in at most so many passes over them."""
    # Deferred: a fitted classifier needs NumPy alone.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier
    from threadpoolctl import threadpool_limits
    model = MLPClassifier((128,), max_iter=epochs, random_state=0)
    # So small that further threads only wait for each other.
    with warnings.catch_warnings(), threadpool_limits(1):
      warnings.simplefilter("ignore", ConvergenceWarning)  # The number of passes is part of it.
      model.fit(_flat(images), labels)
    (hidden, output), (hidden_biases, output_biases) = model.coefs_, model.intercepts_
    return cls(hidden, hidden_biases, output, output_biases, model.classes_)

  @classmethod
  def load(cls, path: str | os.PathLike) -> "Classifier":
    """Reads what `save` wrote."""
    with np.load(path) as arrays:
      return cls(**arrays)

  def save(self, path: str | os.PathLike) -> None:
    """Writes the arrays as .npz."""
    np.savez(path, **vars(self))

  def features(self, images: np.ndarray) -> np.ndarray:
    """Hidden activations, [M, 128]."""
    hidden = _flat(images) @ self.hidden_weights + self.hidden_biases
    return np.maximum(hidden, 0)

  def predict(self, images: np.ndarray) -> np.ndarray:
    """The most probable label of every image, [M]."""
    logits = self.features(images) @ self.output_weights + self.output_biases
    best = (logits[:, 0] > 0).astype(int) if logits.shape[1] == 1 else logits.argmax(axis=1)
    return self.classes[best]

  def accuracy(self, images: np.ndarray, labels: np.ndarray) -> float:
    """Share of images given their label."""
    return float((self.predict(images) == labels).mean())


def _flat(images: np.ndarray) -> np.ndarray:
  return np.asarray(images, np.float32).reshape(len(images), -1)
