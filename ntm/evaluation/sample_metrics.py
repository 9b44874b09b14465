"""How good samples are, in the features of a small classifier of the data.

Of a data set of finite size the classifier is fitted to the training images, and
samples are compared with these. Of endless digits it is fitted to 20,000 training
draws, and samples are compared with 20,000 fresh draws of the same distribution,
which no run is trained on: nothing is gained by memory. Likewise of scenes, whose classifier
tells their categories.
"""

import numpy as np

from ntm.config import DataConfig
from ntm.data import digits
from ntm.data.scenes import Scenes
from ntm.evaluation import comparison
from ntm.evaluation.classifier import Classifier
from ntm.evaluation.features import OfClassifier

_ENDLESS_IMAGES = 20_000  # Behind the classifier, and in the reference.
_SCENES_EPOCHS = 10
_LATE = 2 ** 20  # The first scene of the reference: those before it are scored and drawn.
_ENDLESS_EPOCHS = 40  # About as many updates as 400 passes over the 1,500 digits.


class Reference:
  """A classifier and the features of real images, which samples are compared with.

  Any number of sets of samples are measured alike.
  """

  def __init__(self, classifier: Classifier, images: np.ndarray):
    self._extract = OfClassifier(classifier)
    self._reference = comparison.Reference.of(self._extract(images))

  @classmethod
  def fit(cls, images: np.ndarray, labels: np.ndarray) -> "Reference":
    """The images with a classifier that is fitted to them."""
    return cls(Classifier.fit(images, labels), images)

  def metrics(self, images: np.ndarray, labels: np.ndarray | None) -> dict[str, float]:
    """Fréchet distance to the reference with its error, precision, recall and class accuracy.

    Args:
      images: samples, or other real images.
      labels: what they should show; None leaves the accuracy out.
    """
    result = self._reference.metrics(self._extract(images))
    if labels is not None:
      result["class_accuracy"] = self._extract.classifier.accuracy(images, labels)
    return result


def fit_endless(data: DataConfig) -> Classifier:
  """The classifier of endless digits."""
  train = _draws(data, "train", 0, _ENDLESS_IMAGES)
  return Classifier.fit(train["image"], train["label"], _ENDLESS_EPOCHS)


def endless(data: DataConfig, count: int, classifier: Classifier | None = None
            ) -> tuple[Reference, dict[str, dict[str, np.ndarray]]]:
  """The reference of endless digits, and real draws to measure as if they were samples.

  Args:
    data: with `augment`.
    count: samples that will be measured.
    classifier: of `fit_endless`; None fits it.

  Returns:
    (reference; {"fresh": `count` fresh draws that are not in the reference, "test": as
    many held-out draws}).
  """
  images, others = endless_images(data, count)
  return Reference(classifier or fit_endless(data), images), others


def endless_images(data: DataConfig, count: int
                   ) -> tuple[np.ndarray, dict[str, dict[str, np.ndarray]]]:
  """(images of the reference of endless digits, the others that `endless` gives)."""
  return _draws(data, "fresh", 0, _ENDLESS_IMAGES)["image"], {
      "fresh": _draws(data, "fresh", _ENDLESS_IMAGES, count),
      "test": _draws(data, "test", 0, count)}


def scenes(side: int, count: int) -> tuple[Reference, dict[str, np.ndarray]]:
  """The reference of scenes, and real ones to measure as if they were samples.

  Args:
    side: of the pictures.
    count: samples that will be measured.

  Returns:
    (reference, {"image": `count` others, "label": their categories}).
  """
  train = Scenes("train", side).examples(np.arange(_ENDLESS_IMAGES))
  source = Scenes("test", side)
  images = source.examples(_LATE + np.arange(_ENDLESS_IMAGES))["image"]
  classifier = Classifier.fit(train["image"], train["label"], _SCENES_EPOCHS)
  return Reference(classifier, images), source.examples(
      _LATE + _ENDLESS_IMAGES + np.arange(count))


def _draws(data, split, start, count):
  return digits.EndlessDigits(split, data.left_out).batch(np.arange(start, start + count))
