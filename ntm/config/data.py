"""The section of the data, with what it must satisfy."""

import dataclasses
from typing import Literal

from ntm.config import extension
from ntm.config.checking import require, unread
from ntm.config.extension import Extension


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """Where images come from.

  Attributes:
    source: 'digits' (scikit-learn's, bundled), 'folder', 'tfds', 'arrays', 'shards' (latents that
      `ntm encode` wrote), 'mixture' (fresh draws from a known density), 'scenes' (procedural
      pictures of coloured shapes), 'sounds' (chirps and plucked strings), 'clips' (moving shapes),
      see `ntm.data.scenes`, `sounds` and `clips`, or an extension.
    path: folder: the directory of images, one sub-directory per class, or with captions for
      `text.tokenizer` as `ntm.data.folder_captions` reads them;
      tfds: the data set's name, such as 'cifar10'; arrays: the directory of
      latents and conditions prepared ahead, see `ntm.data.arrays`; shards: the
      --target of `ntm encode`, or a directory with such `train` and `test`.
    data_dir: tfds: where prepared data sets are; '' for tfds's default.
    test_fraction: folder: share of every class held out as the test split; shards:
      share of all examples, unless `path` has a directory per split.
    left_out: digits: a class that the run never sees, for `ntm likelihood` to
      find strange; -1 leaves none out.
    augment: digits: a fresh random affine map for every example, so that none is
      seen twice, see `ntm.data.affine`.
    mixture: mixture: 'grid25' and 'ring8' (Gaussians in the plane), 'checkerboard'
      (uniform on the dark squares) or 'templates' (glyphs with pixel noise), see
      `ntm.truth.named`.
    noise: mixture: standard deviation of a Gaussian component.
    num_templates: templates: number of glyphs.
  """

  source: Literal["digits", "folder", "tfds", "arrays", "shards", "mixture",
                  "scenes", "sounds", "clips"] | Extension = "digits"
  path: str = ""
  data_dir: str = ""
  test_fraction: float = 0.1
  left_out: int = -1
  augment: bool = False
  mixture: Literal["grid25", "ring8", "checkerboard", "templates"] = "grid25"
  noise: float = 0.035
  num_templates: int = 16


def check_data(data, image_shape: tuple[int, ...]) -> None:
  """Raises ValueError unless a DataConfig makes sense for images of a shape."""
  require(0 < data.test_fraction < 1, "data.test_fraction", data.test_fraction,
          "a share strictly between 0 and 1")
  require(-1 <= data.left_out <= 9 and (data.left_out < 0 or data.source == "digits"),
          "data.left_out", data.left_out, "a digit, with data.source 'digits', or -1")
  require(not data.augment or data.source == "digits", "data.augment", data.augment,
          "False unless data.source is 'digits'")
  if data.source in ("folder", "arrays", "shards"):
    unread(data, "data", "data.source 'tfds'", data_dir="")
  elif data.source != "tfds" and not extension.is_path(data.source):
    unread(data, "data", "a data.source of files", path="", data_dir="")
  _check_mixture(data, image_shape)


def _check_mixture(data, image_shape):
  if data.source != "mixture":
    unread(data, "data", "data.source 'mixture'", mixture="grid25", noise=0.035, num_templates=16)
    return
  require(data.noise > 0, "data.noise", data.noise, "a positive standard deviation")
  if data.mixture == "checkerboard":
    unread(data, "data", "a data.mixture of Gaussians", noise=0.035)
  if data.mixture == "templates":
    require(1 <= data.num_templates <= 1000, "data.num_templates", data.num_templates,
            "1 to 1000 glyphs")
    require(len(image_shape) == 3 and image_shape[2] == 1 and 8 <= min(image_shape[:2])
            and max(image_shape) <= 32, "model.image_shape", image_shape,
            "(height, width, 1) of 8 to 32 pixels with data.mixture = 'templates'")
  else:
    unread(data, "data", "data.mixture 'templates'", num_templates=16)
    require(image_shape == (2, 1), "model.image_shape", image_shape,
            f"(2, 1), a point of the plane, with data.mixture = {data.mixture!r}")
