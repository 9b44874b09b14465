"""A folder of samples in parts, so that an evaluation that was killed draws only what is missing.

  settings.json      how the samples are drawn
  part-000000.npz    of the first batch: `finite`, bool [M], which of its samples are finite, and
                     `images`, those, uint8 or float32 [M', H, W, C]; also `settings`, the
                     fingerprint of settings.json with the number of the part, and `made_on`

A part is written whole or not at all. One that is damaged, or was copied from elsewhere, is drawn
again.
"""

import hashlib
import json
import logging
import os
import pathlib
import shutil
import zipfile
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from ntm.evaluation import settings_record

_LOG = logging.getLogger("ntm")


class SampleParts:
  """The folder of the samples of one evaluation; several processes may use it together."""

  def __init__(self, directory: str | os.PathLike, settings: dict[str, Any],
               image_shape: Sequence[int], dtype: type):
    """Makes the folder, or opens it to go on.

    Args:
      directory: of the samples.
      settings: all that they depend on, {name: string or number}.
      image_shape: of a sample.
      dtype: of the samples, uint8 or float32.

    Raises:
      ValueError: it holds samples of other settings, or files of something else.
    """
    self._directory, self._dtype = pathlib.Path(directory), np.dtype(dtype)
    self._image_shape = tuple(image_shape)
    settings_record.check(self._directory / "settings.json", self._directory, settings,
                          "samples_dir")
    self._fingerprint = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    self._made_on = f"{jax.devices()[0].device_kind} by JAX {jax.__version__}"
    self._noticed = {self._made_on}

  def read(self, number: int, count: int) -> tuple[np.ndarray, np.ndarray] | None:
    """(finite samples, whether each of `count` is finite) of a part; None if it is not there."""
    path = self._path(number)
    if not path.exists():
      return None
    try:
      with zipfile.ZipFile(path) as archive:
        if archive.testzip():
          raise ValueError("its checksum does not match")
      with np.load(path) as file:
        images, finite, settings, made_on = (
            file[name] for name in ("images", "finite", "settings", "made_on"))
      if settings != self._key(number):
        raise ValueError("it is a part of other samples")
      if (finite.shape, finite.dtype) != ((count,), bool) or (images.shape, images.dtype) != (
          (finite.sum(), *self._image_shape), self._dtype):
        raise ValueError(f"it has {images.dtype} samples of shape {images.shape}")
    except Exception as error:  # A damaged archive gives errors of many kinds.
      _LOG.warning("%s cannot be used (%s); its samples are drawn again", path, error)
      return None
    if str(made_on) not in self._noticed:
      self._noticed.add(str(made_on))
      _LOG.warning("%s was drawn on %s, and this is %s, whose samples differ by rounding", path,
                   made_on, self._made_on)
    return images, finite

  def write(self, number: int, images: np.ndarray, finite: np.ndarray) -> None:
    """Keeps a part: its finite samples, and whether each is finite.

    Raises:
      ValueError: the disk is full, or the folder cannot be written.
    """
    path = self._path(number)
    partial = path.with_suffix(".partial")
    try:
      with partial.open("wb") as file:
        np.savez(file, images=images, finite=finite, settings=self._key(number),
                 made_on=self._made_on)
        file.flush()
        os.fsync(file.fileno())
      partial.replace(path)
    except OSError as error:
      partial.unlink(missing_ok=True)
      raise ValueError(f"{path} cannot be written ({error.strerror}); make room and run the "
                       "command again: it continues.") from error

  def check_disk(self, count: int) -> None:
    """Raises ValueError unless the disk has room for so many more samples."""
    size = count * self._dtype.itemsize * int(np.prod(self._image_shape))
    free = shutil.disk_usage(self._directory).free
    if free < size:
      raise ValueError(f"{self._directory} needs {size / 1e9:.2f} GB, and its disk has "
                       f"{free / 1e9:.2f} GB left.")

  def _path(self, number):
    return self._directory / f"part-{number:06}.npz"

  def _key(self, number):
    return f"{self._fingerprint} {number}"
