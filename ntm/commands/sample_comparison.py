"""Samples of a run against real images, for `ntm evaluate`.

The results also say what the metrics depend on: features and the hash of their weights,
resize, rounding, the reference and its hash, and the samples' labels.
"""

import logging
import math

import numpy as np

from ntm.commands import drawing
from ntm.commands.progress import progress
from ntm.config import Config
from ntm.data import pipeline, sources
from ntm.evaluation import comparison, features, references, sample_metrics
from ntm.evaluation.classifier import Classifier
from ntm.evaluation.comparison import Reference
from ntm.evaluation.features import Extractor, OfClassifier

_LOG = logging.getLogger("ntm")
_LARGE = 64 * 64  # Pixels beyond which a classifier of pixels is not chosen by itself.
_ENDLESS_LIMIT = 20_000  # Images in the reference of scenes, which are endless.
_BATCH = 512  # Images measured at a time.


def uses_classifier(name: str | None, image_shape: tuple[int, ...],
                    train: dict[str, np.ndarray]) -> bool:
  """Whether a run is judged in the features of a classifier that is fitted to its data.

  Args:
    name: of --features; None is the classifier, of small images.
    image_shape: of the run's images.
    train: training examples, which the classifier is fitted to.

  Raises:
    ValueError: data that it cannot be fitted to.
  """
  if name not in (None, "classifier"):
    return False
  if name is None and math.prod(image_shape[:-1]) > _LARGE:
    raise ValueError(f"the images have shape {image_shape}, too large for the small classifier; "
                     "expected --features=DIRECTORY of the converted Inception, or "
                     "--features=classifier.")
  if not {"image", "label"} <= set(train) or len(np.unique(train["label"])) < 2:
    raise ValueError("the data have no images of two or more classes, which the small classifier "
                     "is fitted to; expected --features=DIRECTORY of the converted Inception, "
                     "FILE.npz of a classifier, or MODULE:FUNCTION.")
  return True


def fit_classifier(config: Config, train: dict[str, np.ndarray]) -> OfClassifier:
  """The features of the classifier of a run's data."""
  _LOG.info("fitting the classifier")
  with progress("fitting the classifier"):
    return OfClassifier(sample_metrics.fit_endless(config.data) if config.data.augment
                        else Classifier.fit(train["image"], train["label"]))


def against_data(extract: Extractor, config: Config, path: str | None, samples: np.ndarray,
                 classes: np.ndarray | None, test: dict[str, np.ndarray]) -> dict:
  """Metrics of samples and of held-out images, and what they depend on.

  Args:
    extract: the features.
    config: of the run.
    path: of --reference; None is the run's own data.
    samples: as `draw` gives them.
    classes: of the samples, or None.
    test: held-out examples.
  """
  with progress("measuring the reference", "images") as report:
    reference, about, real = _reference(extract, config, path, samples, report)
  if "image" in test and not real:
    real = {"test": test}
  _warn(extract, len(samples), about, len(reference.gaussian.mean))
  result = extract.record | about | _metrics("samples", extract, reference, samples, classes)
  for kind, batch in real.items():
    order = drawing.spread(len(batch["image"]), len(batch["image"]))
    found = _metrics(f"{kind} images", extract, reference, batch["image"][order],
                     batch["label"][order] if "label" in batch else None)
    result |= {f"num_{kind}": len(order)} | {
        f"{kind}_{name}": value for name, value in found.items()}
  return result


def _reference(extract, config, path, samples, report) -> tuple[Reference, dict, dict]:
  """(the reference, what the results say about it, other real draws of endless data)."""
  if path:
    return *references.load(extract, path, samples.shape[1:], report), {}
  if config.data.augment:
    images, real = sample_metrics.endless_images(config.data, len(samples))
    batches = np.array_split(images, -(-len(images) // _BATCH))
    return *references.of_batches(extract, batches, "fresh draws of the data", len(images),
                                  report), real
  source = pipeline.load_split(config, "train")
  limit = _ENDLESS_LIMIT if sources.endless(config.data) else references.LIMIT
  return *references.of_source(extract, source, "training images", limit, report), {}


def _metrics(what, extract, reference, images, classes) -> dict[str, float]:
  with progress(f"measuring the {what}", "images") as report:
    result = reference.metrics(features.measure_over_hosts(extract, images, report=report))
  if isinstance(extract, OfClassifier) and classes is not None:
    result["class_accuracy"] = extract.classifier.accuracy(features.as_float(images), classes)
  return result


def _warn(extract, count, about, width):
  """Says why a distance of few images is not comparable with published ones."""
  few = [f"{number} {what}" for number, what in (
      (count, "samples"), (about["num_reference"], "images of the reference"))
         if number < comparison.USUAL and (
             what == "samples" or about["reference_moments"] == "of these images")]
  if isinstance(extract, OfClassifier):
    if count < width:
      _LOG.warning("%d samples, fewer than the %d features: most of the distance is then the error "
                   "of their covariance, which the standard error does not have", count, width)
  elif few:
    _LOG.warning("%s, fewer than %d: a covariance of few images is too narrow and the distance too "
                 "large, by an amount that depends on the model; compare only distances of as many",
                 " and ".join(few), comparison.USUAL)
