"""What samples are compared with: images of a source or a folder, or a file of ADM.

ADM's reference batches (`.npz`) hold

  arr_0           images, uint8 [M, H, W, 3]
  mu, sigma       mean and covariance of Inception's features of a larger set, with "tf1" resize
  mu_s, sigma_s   the same of the spatial features

of which FID reads mu and sigma, and precision and recall the images.
"""

import hashlib
import logging
import pathlib
import zipfile
from collections.abc import Iterable

import numpy as np

from ntm.conversion import record
from ntm.data import folder, pipeline
from ntm.data.unreadable import Source
from ntm.evaluation import features as features_lib
from ntm.evaluation import neighbours
from ntm.evaluation.comparison import Reference
from ntm.evaluation.features import Extractor, OfInception, Progress
from ntm.evaluation.frechet import Gaussian
from ntm.published.inception import model as inception

_LOG = logging.getLogger("ntm")
LIMIT = 50_000  # Images read of a source.
_AT_A_TIME = 512
_FIELDS = ("mu", "sigma", "mu_s", "sigma_s", "arr_0")


def of_source(extract: Extractor, source: Source, name: str, limit: int = LIMIT,
              report: Progress | None = None) -> tuple[Reference, dict]:
  """At most so many images, evenly spaced over a source, and what the results say about them.

  Args:
    extract: of the samples.
    source: of images, float in [-1, 1].
    name: of the source, in the results.
    limit: the largest number of images.
    report: called with (images done, images in all) as features are computed.

  Raises:
    ValueError: an image that cannot be read.
  """
  indices = pipeline.spaced(len(source), limit)
  return of_batches(extract, (
      np.stack([source[int(i)]["image"] for i in indices[start:start + _AT_A_TIME]])
      for start in range(0, len(indices), _AT_A_TIME)), name, len(indices), report)


def of_batches(extract: Extractor, batches: Iterable[np.ndarray], name: str, total: int = 0,
               report: Progress | None = None) -> tuple[Reference, dict]:
  """Batches of images, float in [-1, 1], and what the results say about them.

  Args:
    extract: of the samples.
    batches: of images.
    name: of the images, in the results.
    total: images in all, for reports.
    report: as `of_source`.
  """
  digest, count = hashlib.sha256(), 0

  def digested():
    nonlocal count
    for batch in batches:
      digest.update(np.ascontiguousarray(batch, np.float32))
      count += len(batch)
      yield batch

  found = features_lib.measure(extract, digested(), total, report)
  return Reference.of(found), {
      "reference": name, "reference_sha256": digest.hexdigest(), "num_reference": count,
      "reference_moments": "of these images"}


def load(extract: Extractor, path: str, image_shape: tuple[int, ...],
         report: Progress | None = None) -> tuple[Reference, dict]:
  """A folder of images or a file of ADM, and what the results say about it.

  Args:
    extract: of the samples.
    path: of the folder or file.
    image_shape: of the samples, to which images of a folder are cropped and scaled.
    report: as `of_source`.

  Raises:
    ValueError: neither of them, moments of another width, too few images.
  """
  if pathlib.Path(path).is_dir():
    return of_source(extract, folder.Folder(path, "train", image_shape, test_fraction=0.0), path,
                     report=report)
  arrays = _read(path)
  about = {"reference": path, "reference_sha256": record.digest(pathlib.Path(path)),
           "num_reference": len(arrays.get("arr_0", ())), "reference_moments": "of these images"}
  stored = "mu" in arrays and "sigma" in arrays and _reads_moments(extract)
  if not stored and "arr_0" not in arrays:
    raise _no_images(path, extract)
  gaussian = spatial = images = None
  if stored:
    about["reference_moments"] = "mu and sigma of the file"
    gaussian = _gaussian(path, arrays, "mu", "sigma", inception.NUM_FEATURES)
    if "mu_s" in arrays and "sigma_s" in arrays:
      spatial = _gaussian(path, arrays, "mu_s", "sigma_s", features_lib.NUM_SPATIAL)
  if "arr_0" in arrays:
    pixels = arrays["arr_0"]
    if image_shape[-1] == 1 and (pixels == pixels[..., :1]).all():
      pixels = pixels[..., :1]  # Grey images, as `export_adm` writes them.
    images = features_lib.measure(extract, (
        features_lib.as_float(pixels[start:start + _AT_A_TIME])
        for start in range(0, len(pixels), _AT_A_TIME)), len(pixels), report)
  if images is None:
    _LOG.warning("%s has no images, so there are no precision and recall", path)
    return Reference(gaussian, spatial), about
  return Reference.of(images, gaussian, spatial), about


def check(path: str, image_shape: tuple[int, ...], extract: Extractor | None) -> None:
  """Raises ValueError unless samples can be compared with what is there; reads no images.

  Args:
    path: of a folder with images, or a file as ADM's.
    image_shape: of the samples, whose sides images of a file must have too, unless they are
      resized.
    extract: the features; None is those of a classifier that is not fitted yet.
  """
  if pathlib.Path(path).is_dir():
    count = sum(map(len, folder.files_by_class(path, log=False).values()))
    if not count:
      raise ValueError(f"--reference is {path}, a folder without images; expected some, or an .npz "
                       "file as ADM's.")
    return _check_number(path, count)
  _read(path, ())
  shape, resizes = _shape(path), isinstance(extract, OfInception)
  if shape:
    _check_number(path, shape[0])
  elif not extract or not _reads_moments(extract):
    raise _no_images(path, extract)
  if not resizes and shape and shape[1:3] != tuple(image_shape[:2]):  # Grey ones may have RGB.
    raise ValueError(f"the images of {path} have shape {shape[1:]}, and the samples "
                     f"{tuple(image_shape)}; expected a reference of the samples' size, or the "
                     "features of Inception, which read any.")


def _reads_moments(extract) -> bool:
  """Whether moments in a file are of these features."""
  return extract.record["resize"] == "tf1"


def _no_images(path, extract) -> ValueError:
  found = "those of a classifier" if extract is None else (
      f"{extract.record['features']}, resize {extract.record['resize']}")
  return ValueError(f"{path} has mean and covariance, which are of Inception's features with "
                    f"--resize=tf1, and no images; the features are {found}. Expected images in "
                    "arr_0.")


def _check_number(path, count):
  if count < neighbours.LEAST:
    raise ValueError(f"--reference is {path}, with {count} images; expected at least "
                     f"{neighbours.LEAST}, and thousands for distances that mean something.")


def export_adm(path: str, images: np.ndarray) -> None:
  """Writes images [M, H, W, 1 or 3], uint8, as arr_0 of an .npz, which ADM's evaluator reads."""
  np.savez(path, arr_0=features_lib.colour(images))


def _read(path, names=_FIELDS):
  """{name: array} of a file of ADM, of these names."""
  try:
    with np.load(path) as file:
      found = set(file)
      arrays = {name: file[name] for name in names if name in file}
  except (OSError, ValueError, TypeError, AttributeError, zipfile.BadZipFile) as error:
    raise ValueError(f"{path} cannot be read as a reference ({error}); expected a folder of images "
                     "or an .npz file as ADM's.") from error
  if not found & {"arr_0", "mu"}:
    raise ValueError(f"{path} has neither images, arr_0, nor mu and sigma; expected a file as "
                     "ADM's.")
  if "arr_0" in found:
    _shape(path)
  return arrays


def _shape(path) -> tuple[int, ...] | None:
  """The shape of a file's images, from their header; None if it has none, ValueError if others."""
  with zipfile.ZipFile(path) as archive:
    if "arr_0.npy" not in archive.namelist():
      return None
    with archive.open("arr_0.npy") as file:
      read = {(1, 0): np.lib.format.read_array_header_1_0,
              (2, 0): np.lib.format.read_array_header_2_0}[np.lib.format.read_magic(file)]
      shape, _, dtype = read(file)
  if len(shape) != 4 or dtype != np.uint8:
    raise ValueError(f"arr_0 of {path} has type {dtype} and shape {shape}; expected uint8 images "
                     "(M, height, width, 3).")
  return shape


def _gaussian(path, arrays, mean, covariance, width):
  """That of two arrays of a file."""
  shapes = arrays[mean].shape, arrays[covariance].shape
  if shapes != ((width,), (width, width)):
    raise ValueError(f"{mean} and {covariance} of {path} have shapes {shapes[0]} and {shapes[1]}; "
                     f"expected ({width},) and ({width}, {width}).")
  return Gaussian.of_covariance(arrays[mean], arrays[covariance])
