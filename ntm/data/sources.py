"""Random-access sources: scikit-learn's digits, a folder of images, tfds, prepared arrays.

Every example is {"image": float32 [H, W, C] in [-1, 1], "label": int32}; of
prepared arrays, what `ntm.data.arrays` says.
8-bit images become x / 127.5 - 1. Images of another size are cropped to the
target's aspect around the centre, then resized.
"""

import os
import pathlib
from typing import Protocol

import numpy as np
from PIL import Image

from ntm.config import DataConfig, ModelConfig
from ntm.data.arrays import Arrays

SPLITS = ("train", "test")
_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
_DIGITS_TRAIN = 1500


class Source(Protocol):
  """A sequence of examples that may be read in any order, by many threads."""

  def __len__(self) -> int: ...
  def __getitem__(self, index: int) -> dict[str, np.ndarray]: ...


def load(data: DataConfig, model: ModelConfig, split: str) -> Source:
  """Opens a split of the configured source and checks it against the model.

  Raises:
    ValueError: images of another shape, labels that exceed num_classes, a
      folder without images, arrays that are missing or of other shapes.
    ImportError: a source whose extra is not installed.
  """
  if split not in SPLITS:
    raise ValueError(f"split is {split!r}; expected one of {SPLITS}.")
  if data.source == "arrays":
    return Arrays(data.path, split, model)
  if model.backbone.text_tokens:
    raise ValueError(f"config.data.source is {data.source!r}, which has no text features; "
                     "expected 'arrays'.")
  if len(model.image_shape) != 3 or model.image_shape[-1] not in (1, 3):
    raise ValueError(f"config.model.image_shape is {model.image_shape}; the image sources give "
                     "(height, width, 1 or 3).")
  if data.source == "digits":
    source = Digits(split, data.left_out)
  elif data.source == "folder":
    source = Folder(data.path, split, model.image_shape, data.test_fraction)
  else:
    source = Tfds(data.path, data.data_dir, split, model.image_shape)
  first = source[0]
  if first["image"].shape != model.image_shape:
    raise ValueError(f"{data.source} images have shape {first['image'].shape}, but "
                     f"config.model.image_shape is {model.image_shape}; set them equal.")
  if model.num_classes and source.num_classes != model.num_classes:
    raise ValueError(f"{data.source} has {source.num_classes} classes, but "
                     f"config.model.num_classes is {model.num_classes}; set it to that, or to 0 "
                     "for an unconditional model.")
  return source


class Digits:
  """scikit-learn's 1,797 handwritten digits, 8 x 8: the first 1,500 train.

  A class `left_out` is in neither split; 'left_out' is the split that has all
  of it.
  """

  num_classes = 10

  def __init__(self, split: str, left_out: int = -1):
    try:
      from sklearn import datasets
    except ImportError as error:
      raise ImportError("the digits need scikit-learn: pip install 'ntm[digits]'") from error
    digits = datasets.load_digits()
    labels = digits.target.astype(np.int32)
    in_train = np.arange(len(labels)) < _DIGITS_TRAIN
    chosen = {"train": in_train & (labels != left_out), "test": ~in_train & (labels != left_out),
              "left_out": labels == left_out}[split]
    self._images = (digits.images[chosen, ..., None] / 8 - 1).astype(np.float32)
    self._labels = labels[chosen]

  def __len__(self) -> int:
    return len(self._images)

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    return {"image": self._images[index], "label": self._labels[index]}


class Folder:
  """Images below a directory; its sub-directories, in order, are the classes.

  In every class the files in order of name are dealt out so that a test
  fraction f takes every (1/f)-th; images right in the directory are class 0.
  """

  def __init__(self, path: str, split: str, image_shape: tuple[int, ...], test_fraction: float):
    root = pathlib.Path(path)
    if not path or not root.is_dir():
      raise ValueError(f"config.data.path is {path!r}, which is not a directory; expected the "
                       "folder of images.")
    classes = sorted(p for p in root.iterdir() if p.is_dir()) or [root]
    self.num_classes = len(classes)
    self._shape = image_shape
    self._examples = []
    for label, directory in enumerate(classes):
      files = sorted(p for p in directory.rglob("*") if p.suffix.lower() in _SUFFIXES)
      for i, file in enumerate(files):
        # One file of every 1 / fraction is a test image: floor(i f) steps there.
        test = int((i + 1) * test_fraction) > int(i * test_fraction)
        if test == (split == "test"):
          self._examples.append((file, label))
    if not self._examples:
      raise ValueError(f"{root} has no {split} images ({', '.join(sorted(_SUFFIXES))}); check "
                       "config.data.path and config.data.test_fraction.")

  def __len__(self) -> int:
    return len(self._examples)

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    file, label = self._examples[index]
    try:
      with Image.open(file) as image:
        return _example(image, label, self._shape)
    except OSError as error:
      raise ValueError(f"{os.fspath(file)} is not a readable image: {error}") from error


class Tfds:
  """A prepared tensorflow-datasets data set in a random-access format."""

  def __init__(self, name: str, data_dir: str, split: str, image_shape: tuple[int, ...]):
    try:
      import tensorflow_datasets as tfds
    except ImportError as error:
      raise ImportError("tfds sources need tensorflow-datasets: pip install 'ntm[tfds]'") from error
    if not name:
      raise ValueError("config.data.path is empty; expected the name of a tfds data set.")
    builder = tfds.builder(name, data_dir=data_dir or None)
    if split not in builder.info.splits:
      split = "validation"  # ImageNet and others hold out under this name.
    self._source = builder.as_data_source(split=split)
    self._shape = image_shape
    features = builder.info.features
    self.num_classes = features["label"].num_classes if "label" in features else 1

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    example = self._source[index]
    pixels = np.asarray(example["image"])
    if pixels.dtype != np.uint8:
      raise ValueError(f"example {index} has {pixels.dtype} pixels; expected uint8 images.")
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    return _example(image, example.get("label", 0), self._shape)


def _example(image: Image.Image, label, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
  """Crops, resizes and scales one 8-bit image."""
  height, width, channels = shape
  image = image.convert("L" if channels == 1 else "RGB")
  if image.size != (width, height):
    scale = max(width / image.width, height / image.height)
    box_width, box_height = width / scale, height / scale
    left, top = (image.width - box_width) / 2, (image.height - box_height) / 2
    image = image.resize((width, height), Image.Resampling.BICUBIC,
                         box=(left, top, left + box_width, top + box_height))
  pixels = np.asarray(image, np.float32).reshape(shape) / 127.5 - 1
  return {"image": pixels, "label": np.int32(label)}


def level_spacing(config: DataConfig) -> float:
  """Distance between neighbouring values of the data, in the scale [-1, 1].

  Raises:
    ValueError: prepared arrays, whose values are anything.
  """
  if config.source == "arrays":
    raise ValueError("config.data.source is 'arrays'; expected images, whose values have levels: "
                     "the likelihood of these is that of what they were encoded from.")
  return 2 / 16 if config.source == "digits" else 2 / 255
