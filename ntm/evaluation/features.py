"""What images are compared in: the features of a network.

`load` reads the value of `ntm evaluate --features`:

  DIRECTORY     Inception, converted by `ntm convert --family=inception`
  FILE.npz      a small classifier that `Classifier.save` wrote
  MODULE:NAME   your own: a function of uint8 images [B, H, W, C] that gives features [B, F]

An extractor has a `record` of what its numbers depend on, which the results repeat.
"""

import dataclasses
import hashlib
import logging
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import jax
import numpy as np

from ntm.config import extension
from ntm.conversion import converter
from ntm.conversion import record as conversion_record
from ntm.evaluation import moments
from ntm.evaluation.classifier import Classifier
from ntm.evaluation.moments import Moments
from ntm.evaluation.resize import resize
from ntm.published.inception import model as inception
from ntm.sampling import pictures
from ntm.training import multihost

_LOG = logging.getLogger("ntm")
_PUBLISHED_SHA256 = "6726825d"  # How that of the published weights begins.
_SPATIAL_CHANNELS = 7  # Of block Mixed_6d, the first, which are those of its 1 x 1 branch.
NUM_SPATIAL = 17 * 17 * _SPATIAL_CHANNELS
_AT_A_TIME = 64  # Images in Inception.

Progress = Callable[[int, int], None]  # Called with (images done, images in all).


@dataclasses.dataclass(frozen=True)
class Features:
  """Of M images.

  Attributes:
    pool: what is compared, [M, F].
    spatial: moments of features that keep the place in the image; None if there are none.
    logits: what the Inception Score reads, [M, L]; None if there are none.
  """

  pool: np.ndarray
  spatial: Moments | None = None
  logits: np.ndarray | None = None


class Extractor(Protocol):
  """A network that gives features.

  Attributes:
    record: names and values for the results: at least features, features_sha256 (of the
      weights), resize and rounding.
  """

  record: dict[str, str]

  def __call__(self, images: np.ndarray) -> Features:
    """Features of images [M, H, W, C], float in [-1, 1]."""
    ...


def measure(extract: Extractor, batches: Iterable[np.ndarray], total: int = 0,
            report: Progress | None = None) -> Features:
  """Features of batches of images [M, H, W, C], one after the other, at least one batch.

  Args:
    extract: the features.
    batches: float in [-1, 1].
    total: images in all, for reports.
    report: called with (images done, total) after every batch.
  """
  parts, done = [], 0
  for batch in batches:
    parts.append(extract(batch))
    done += len(batch)
    if report:
      report(done, total)
  return join(parts)


def measure_over_hosts(extract: Extractor, images: np.ndarray, size: int = 512,
                       report: Progress | None = None) -> Features:
  """Features of images that every process holds, each measuring its share; collective.

  Args:
    extract: the same on all processes.
    images: [M, H, W, C] in [-1, 1], or uint8.
    size: images at a time.
    report: called with (images done, images in all) of this process.
  """
  count = jax.process_count()
  shared = len(images) >= count
  mine = np.array_split(images, count)[jax.process_index()] if shared else images
  batches = (as_float(mine[start:start + size]) for start in range(0, len(mine), size))
  found = measure(extract, batches, len(mine), report)
  if not shared:
    return found
  return Features(
      multihost.allgather_rows(found.pool),
      None if found.spatial is None else moments.merged_over_hosts(found.spatial),
      None if found.logits is None else multihost.allgather_rows(found.logits))


def as_float(images: np.ndarray) -> np.ndarray:
  """Images in [-1, 1], also of uint8."""
  return images.astype(np.float32) / 127.5 - 1 if images.dtype == np.uint8 else images


def join(parts: Sequence[Features]) -> Features:
  """Features of the images of all parts, in order."""
  spatial, logits = ([getattr(part, name) for part in parts] for name in ("spatial", "logits"))
  return Features(np.concatenate([part.pool for part in parts]),
                  None if spatial[0] is None else moments.merged(spatial),
                  None if logits[0] is None else np.concatenate(logits))


def load(name: str, method: str) -> Extractor:
  """The extractor of that name.

  Args:
    name: one of the three kinds above.
    method: of `resize.METHODS`, for Inception.

  Raises:
    ValueError: no such file or directory, another kind of file, a function that cannot be
      imported.
  """
  if not extension.is_path(name) and not pathlib.Path(name).exists():
    raise ValueError(f"--features is {name}, which does not exist; expected 'classifier', the "
                     "directory of the converted Inception, the file of a classifier, or "
                     "MODULE:FUNCTION.")
  if name.endswith(".npz"):
    try:
      return OfClassifier(Classifier.load(name), name)
    except (TypeError, ValueError) as error:
      raise ValueError(f"{name} is not a classifier; expected a file that "
                       "ntm.evaluation.classifier.Classifier.save wrote. As what samples are "
                       "compared with, give it to --reference.") from error
  return OfFunction(name) if extension.is_path(name) else OfInception(name, method)


class OfClassifier:
  """Hidden units of a small classifier, of images as they are."""

  def __init__(self, classifier: Classifier, name: str = "classifier"):
    self.classifier = classifier
    self.record = {"features": name, "features_sha256": sha256(*vars(classifier).values()),
                   "resize": "none", "rounding": "none"}

  def __call__(self, images: np.ndarray) -> Features:
    """Features [M, 128]; ValueError for images of another size than the classifier's."""
    values, expected = images[0].size, len(self.classifier.hidden_weights)
    if values != expected:
      raise ValueError(f"the images have shape {images.shape[1:]}, {values} values, and the "
                       f"classifier {self.record['features']} reads {expected}; use one that was "
                       "fitted to images of that shape, or the features of Inception.")
    return Features(self.classifier.features(images))


class OfInception:
  """Inception's features of images that were rounded to 8 bits and resized."""

  def __init__(self, directory: str, method: str):
    family, _, self._params = converter.load(directory)
    if family != "inception":
      raise ValueError(f"{directory} holds a model of family {family}; expected the target of "
                       "`ntm convert --family=inception`.")
    (source,) = conversion_record.read(directory)["source"]
    self.record = {"features": "inception", "features_sha256": source["sha256"],
                   "resize": method, "rounding": "nearest"}
    if not source["sha256"].startswith(_PUBLISHED_SHA256):
      _LOG.warning("%s was made from a file of SHA-256 %.8s..., and FID's weights have %s...: the "
                   "numbers are not comparable with published ones", directory, source["sha256"],
                   _PUBLISHED_SHA256)

    def forward(params, pixels):
      x_BHWC = (resize(pixels, inception.SIDE, method) - 128) / 128
      out = inception.Inception().apply({"params": params}, x_BHWC)
      return out.pool_BF, out.spatial_BHWF[..., :_SPATIAL_CHANNELS], out.unbiased_logits_BL

    self._forward = jax.jit(forward)

  def __call__(self, images: np.ndarray) -> Features:
    """Pool [M, 2048], moments of width 17 x 17 x 7, and logits [M, 1008] without bias."""
    pixels = colour(pictures.to_uint8(images))
    parts = []
    for start in range(0, len(pixels), _AT_A_TIME):
      rows = pixels[start:start + _AT_A_TIME]
      size = min(_AT_A_TIME, len(pixels))  # The last batch is filled up, or it compiles anew.
      padded = np.resize(rows, (size, *rows.shape[1:]))
      pool, spatial, logits = (np.asarray(out)[:len(rows)]
                               for out in self._forward(self._params, padded))
      parts.append(Features(pool, Moments.of(spatial.reshape(len(rows), -1)), logits))
    return join(parts)


class OfFunction:
  """What a function of the user gives for images that were rounded to 8 bits."""

  def __init__(self, name: str):
    self._function = extension.load(name)
    self.record = {"features": name, "features_sha256": "not known", "resize": "of the function",
                   "rounding": "nearest"}

  def __call__(self, images: np.ndarray) -> Features:
    """Features [M, F]; ValueError if the function fails or gives something else."""
    name = self.record["features"]
    try:
      found = np.asarray(self._function(pictures.to_uint8(images)))
    except Exception as error:  # Whatever a user's code raises.
      raise ValueError(f"{name} fails for uint8 images of shape {images.shape}: "
                       f"{type(error).__name__}: {error}; correct the function.") from error
    if found.ndim != 2 or len(found) != len(images):
      raise ValueError(f"{name} gives features of shape {found.shape} for {len(images)} images; "
                       f"expected ({len(images)}, F).")
    if not np.isfinite(found).all():
      raise ValueError(f"{name} gives features that are NaN or infinite; expected finite numbers.")
    return Features(found)


def colour(pixels: np.ndarray) -> np.ndarray:
  """Images [M, H, W, 1 or 3] of three channels, which are equal where there was one."""
  if pixels.ndim != 4 or pixels.shape[3] not in (1, 3):
    raise ValueError(f"the images have shape {pixels.shape[1:]}; expected (height, width, 1 or 3). "
                     "Of latents, only decoded images can be compared.")
  return np.broadcast_to(pixels, (*pixels.shape[:3], 3))


def sha256(*arrays: np.ndarray) -> str:
  """SHA-256 of the shapes, types and values of arrays, in order."""
  digest = hashlib.sha256()
  for array in arrays:
    digest.update(f"{array.dtype.str}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array))
  return digest.hexdigest()
