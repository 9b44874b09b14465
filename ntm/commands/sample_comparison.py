"""Samples of a run against real images, for `ntm evaluate`.

The results also say what the metrics depend on: features and the hash of their weights,
resize, rounding, the reference and its hash, and the samples' labels.
"""

import logging

import jax
import numpy as np

from ntm.api import checks
from ntm.commands.progress import progress
from ntm.config import Config
from ntm.data import pipeline, sources
from ntm.evaluation import comparison, features, references, sample_metrics
from ntm.evaluation.classifier import Classifier
from ntm.evaluation.comparison import Reference
from ntm.evaluation.features import Extractor, OfClassifier
from ntm.sampling import pictures
from ntm.training import multihost
from ntm.typing import PRNGKey

_LOG = logging.getLogger("ntm")
_LARGE = 64  # Pixels of a side beyond which a classifier of pixels is not chosen by itself.
_ENDLESS_LIMIT = 20_000  # Images in the reference of scenes, which are endless.
_PART = 10_000  # Samples that are float at a time.
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
  if name is None and max(image_shape[:2]) > _LARGE:
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


def labels(config: Config, frequencies: str, count: int) -> tuple[np.ndarray | None, str]:
  """(classes or captions of samples, what the results say about them).

  Args:
    config: of the run.
    frequencies: "uniform", equally many per class, or "training", of training examples that
      are evenly spaced over the data.
    count: samples.
  """
  if config.text.tokenizer:
    source = pipeline.load_split(config, "test")
    rows = _spread(len(source), count)
    captions = list(source.captions(rows.tolist()))
    return np.resize(captions, count), "captions of held-out examples"
  if not config.model.num_classes:
    return None, "none"
  if frequencies == "uniform":
    return np.arange(count) % config.model.num_classes, "uniform"
  source = pipeline.load_split(config, "train")
  rows = _spread(len(source), count)
  return np.array([source[int(row)]["label"] for row in rows]), "as in training"


def _spread(length: int, count: int) -> np.ndarray:
  """`count` indices of a source, evenly spaced and then shuffled.

  A source may be in order of class, and parts of the samples are to be like all: the Inception
  Score is a mean over parts, and the standard error leaves parts out.
  """
  rows = np.resize(pipeline.spaced(length, count), count)
  return np.random.default_rng(0).permutation(rows)


def draw(model, rng: PRNGKey, conditions: np.ndarray | None, count: int, as_uint8: bool,
         **how) -> tuple[np.ndarray, np.ndarray]:
  """Samples, and which of them are finite; none is drawn again. Collective.

  Args:
    model: a restored one.
    rng: a key.
    conditions: classes or captions, or None.
    count: samples, at least one per process.
    as_uint8: rounds them, so that many need little memory.
    **how: arguments of `model.sample`.

  Returns:
    (the finite ones, float or uint8 [M', H, W, C]; whether each is finite, [M]).

  Raises:
    FloatingPointError: too few are finite to be compared.
  """
  images, finite = [], []
  # Of several processes each draws its share, with other noise.
  processes, process = jax.process_count(), jax.process_index()
  rng = jax.random.fold_in(rng, 2**30 + process) if processes > 1 else rng
  mine = np.array_split(np.arange(count), processes)[process]
  with progress("sampling") as report:
    for i, start in enumerate(range(0, len(mine), _PART)):
      rows = mine[start:start + _PART]
      # A key that no batch of the first part has.
      key = jax.random.fold_in(rng, 2**31 + i) if i else rng
      part = model.sample(key, None if conditions is None else conditions[rows],
                          num_samples=len(rows), **how,
                          progress=lambda done, _, start=start: report(start + done, len(mine)))
      finite.append(np.isfinite(part.reshape(len(part), -1)).all(axis=1))
      images.append(pictures.to_uint8(part[finite[-1]]) if as_uint8 else part[finite[-1]])
  images, finite = (multihost.allgather_rows(np.concatenate(parts)) for parts in (images, finite))
  if finite.sum() <= min(count - 1, 3):
    checks.finite("samples", np.where(finite, 0, np.nan))
  if not finite.all():
    _LOG.warning("%d of %d samples hold NaN or infinite numbers; they are left out of what "
                 "follows, and none is drawn again", (~finite).sum(), count)
  return images, finite


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
  with progress("measuring the samples"):
    reference, about, real = _reference(extract, config, path, samples)
    if "image" in test and not real:
      real = {"test": test}
    _warn(extract, len(samples), about)
    result = extract.record | about | _metrics(extract, reference, samples, classes)
    for kind, batch in real.items():
      order = _spread(len(batch["image"]), len(batch["image"]))
      found = _metrics(extract, reference, batch["image"][order],
                       batch["label"][order] if "label" in batch else None)
      result |= {f"{kind}_{name}": value for name, value in found.items()}
  return result


def _reference(extract, config, path, samples) -> tuple[Reference, dict, dict]:
  """(the reference, what the results say about it, other real draws of endless data)."""
  if path:
    return *references.load(extract, path, samples.shape[1:]), {}
  if config.data.augment:
    images, real = sample_metrics.endless_images(config.data, len(samples))
    batches = np.array_split(images, -(-len(images) // _BATCH))
    return *references.of_batches(extract, batches, "fresh draws of the data"), real
  source = pipeline.load_split(config, "train")
  limit = _ENDLESS_LIMIT if sources.endless(config.data) else references.LIMIT
  return *references.of_source(extract, source, "training images", limit), {}


def _metrics(extract, reference, images, classes) -> dict[str, float]:
  result = reference.metrics(features.measure_over_hosts(extract, images))
  if isinstance(extract, OfClassifier) and classes is not None:
    result["class_accuracy"] = extract.classifier.accuracy(features.as_float(images), classes)
  return result


def _warn(extract, count, about):
  """Says why a distance of few images is not comparable with published ones."""
  few = [f"{number} {what}" for number, what in (
      (count, "samples"), (about["num_reference"], "images of the reference"))
         if number < comparison.USUAL and (
             what == "samples" or about["reference_moments"] == "of these images")]
  if few and not isinstance(extract, OfClassifier):
    _LOG.warning("%s, fewer than %d: a covariance of few images is too narrow and the distance too "
                 "large, by an amount that depends on the model; compare only distances of as many",
                 " and ".join(few), comparison.USUAL)
