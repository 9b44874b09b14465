"""How good samples are, in the features of a small classifier of the data."""

from collections.abc import Mapping

import numpy as np

from ntm.evaluation import classifier, frechet, neighbours


class Judge:
  """A classifier fitted to the training images, and their features.

  Fitted once, it judges any number of sets of samples by the same measure.
  """

  def __init__(self, train: Mapping[str, np.ndarray]):
    self._classifier = classifier.Classifier(train["image"], train["label"])
    self._features = self._classifier.features(train["image"])

  def figures(self, images: np.ndarray, labels: np.ndarray | None) -> dict[str, float]:
    """Fréchet distance to the training images, precision, recall and class accuracy.

    Args:
      images: samples, or other real images.
      labels: what they should show; None leaves the accuracy out.
    """
    features = self._classifier.features(images)
    precision, recall = neighbours.precision_recall(self._features, features)
    result = {"frechet_distance": frechet.distance(self._features, features),
              "precision": precision, "recall": recall}
    if labels is not None:
      result["class_accuracy"] = self._classifier.accuracy(images, labels)
    return result
