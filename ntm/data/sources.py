"""Random-access sources: digits, folders, tfds, arrays, shards, mixtures, scenes, sounds, clips.

With `config.data.augment` the digits are endless: `EndlessDigits`.

Every example is {"image": float32 [H, W, C] in [-1, 1], "label": int32}; of
prepared arrays, what `ntm.data.arrays` says, of shards, what `ntm.data.shards`
says, and of mixtures, sounds and clips [*image_shape] of any range.
What other kinds of pixels and sizes become is in `ntm.data.images`.
"""

import numpy as np

from ntm.config import DataConfig, ModelConfig, TextConfig, extension
from ntm.data import affine, captions, images
from ntm.data.arrays import Arrays
from ntm.data.clips import Clips
from ntm.data.external import External
from ntm.data.folder import Folder
from ntm.data.folder_captions import CaptionedFolder
from ntm.data.mixture import Mixture
from ntm.data.scenes import Scenes
from ntm.data.shards import Shards
from ntm.data.sounds import Sounds
from ntm.data.unreadable import Source, first_readable

SPLITS = ("train", "test")
_ENDLESS = ("mixture", "scenes", "sounds", "clips")
_DIGITS_TRAIN = 1500
_STREAMS = {"train": 0, "test": 1, "fresh": 2}  # Of random maps.
_AT_A_TIME = 4096  # Images mapped at once: fits in caches, four times faster than 100,000.


def load(data: DataConfig, model: ModelConfig, split: str,
         text: TextConfig | None = None) -> Source:
  """Opens a split of the configured source and checks it against the model.

  With a tokenizer, captions become token ids, see `ntm.data.captions`.

  Returns:
    Examples, with `record()`: lines that say which they are, for the workdir.

  Raises:
    ValueError: images of another shape, labels that exceed num_classes, a folder without images
      or captions or whose first 100 cannot be read, arrays or shards that are missing or of other
      shapes.
    ImportError: a source whose extra is not installed.
  """
  if split not in SPLITS:
    raise ValueError(f"split is {split!r}; expected one of {SPLITS}.")
  by_text = bool(text and text.tokenizer)
  if by_text and data.source not in ("scenes", "shards", "folder"):
    raise ValueError(f"config.data.source is {data.source!r}, whose examples have no captions for "
                     "text.tokenizer; expected 'scenes', 'shards' or 'folder'.")
  if extension.is_path(data.source):
    return External(extension.call(data.source, data, model, split), data.source, model)
  if data.source == "arrays":
    return Arrays(data.path, split, model)
  if data.source == "shards":
    shards = Shards(data.path, split, model, data.test_fraction)
    return _tokenised(shards, text, model) if by_text else shards
  if model.backbone.text_tokens and not by_text:
    raise ValueError(f"config.data.source is {data.source!r}, which has no text features; "
                     "expected 'arrays'.")
  of_pixels = data.source not in ("mixture", "sounds", "clips")
  if of_pixels and (len(model.image_shape) != 3 or model.image_shape[-1] not in (1, 3)):
    raise ValueError(f"config.model.image_shape is {model.image_shape}; the image sources give "
                     "(height, width, 1 or 3); for a model of latents set config.autoencoder.path.")
  if data.source == "digits":
    source = (EndlessDigits if data.augment else Digits)(split, data.left_out)
  elif data.source == "mixture":
    source = Mixture(data, split, model.image_shape)
  elif data.source in ("sounds", "clips"):
    source = {"sounds": Sounds, "clips": Clips}[data.source](split)
  elif data.source == "scenes":
    source = Scenes(split, model.image_shape[0], with_captions=by_text)
  elif data.source == "folder":
    files = CaptionedFolder if by_text else Folder
    source = files(data.path, split, model.image_shape, data.test_fraction)
  else:
    source = Tfds(data.path, data.data_dir, split, model.image_shape)
  first = first_readable(source)
  if first["image"].shape != model.image_shape:
    raise ValueError(f"{data.source} images have shape {first['image'].shape}, but "
                     f"the run reads {model.image_shape}: config.model.image_shape, or the images "
                     "of config.autoencoder.path; set them equal.")
  if model.num_classes and source.num_classes != model.num_classes:
    raise ValueError(f"{data.source} has {source.num_classes} classes, but "
                     f"config.model.num_classes is {model.num_classes}; set it to that, or to 0 "
                     "for an unconditional model.")
  return _tokenised(source, text, model) if by_text else source


def _tokenised(source, text, model):
  return captions.Tokenised(source, captions.tokenizer(text, model.backbone))


def endless(data: DataConfig) -> bool:
  """Whether every example is a draw of its own, which a run sees once."""
  return data.augment or data.source in _ENDLESS


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
    self._labels, self._left_out = labels[chosen], left_out

  def __len__(self) -> int:
    return len(self._images)

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    return {"image": self._images[index], "label": self._labels[index]}

  def batch(self, indices: np.ndarray) -> dict[str, np.ndarray]:
    """The examples at [M] indices, {"image": [M, 8, 8, 1] float32, "label": [M] int32}."""
    return {"image": self._images[indices], "label": self._labels[indices]}

  def record(self) -> list[str]:
    """Number of the digits and the class that is left out."""
    return [f"{len(self)} digits, class {self._left_out} left out"]


class EndlessDigits:
  """Digits under random affine maps: every index is an independent draw, made when it is read.

  An example is a digit of the split drawn uniformly, under a map of `ntm.data.affine`;
  both are functions of (split, index) alone. The split 'fresh' has the digits of
  'train' under other maps, as draws of the training distribution that no run is
  trained on.
  """

  num_classes = 10

  def __init__(self, split: str, left_out: int = -1):
    self._digits = Digits("train" if split == "fresh" else split, left_out)
    self._split = split

  def __len__(self) -> int:
    return 2 ** 30  # Grain shuffles up to 2^32 indices.

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    return {name: values[0] for name, values in self.batch(np.array([index])).items()}

  def batch(self, indices: np.ndarray) -> dict[str, np.ndarray]:
    """The examples at [M] indices, {"image": [M, 8, 8, 1] float32, "label": [M] int32}."""
    parts = [self._map(indices[start:start + _AT_A_TIME])
             for start in range(0, len(indices), _AT_A_TIME)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

  def _map(self, indices):
    u = affine.uniforms(_STREAMS[self._split], indices)
    digits = self._digits.batch((u[:, 0] * len(self._digits)).astype(np.int64))
    return digits | {"image": affine.transform(digits["image"], *affine.maps(u[:, 1:]))}

  def record(self) -> list[str]:
    """The record of the originals, under random maps."""
    return [f"{line}, under random affine maps" for line in self._digits.record()]


class Tfds:
  """A prepared tensorflow-datasets data set in a random-access format.

  Images are unsigned integers of 8 or 16 bits, of 1 to 4 channels (see
  `images.from_pixels`), labels one class each.
  """

  def __init__(self, name: str, data_dir: str, split: str, image_shape: tuple[int, ...]):
    try:
      import tensorflow_datasets as tfds
    except ImportError as error:
      raise ImportError("tfds sources need tensorflow-datasets: pip install 'ntm[tfds]'") from error
    if not name:
      raise ValueError("config.data.path is empty; expected the name of a tfds data set.")
    try:
      builder = tfds.builder(name, data_dir=data_dir or None)
    except Exception as error:
      raise ValueError(f"the tfds name is {name!r}, of which tensorflow-datasets says: "
                       f"{_first_line(error)}") from error
    features, splits = builder.info.features, list(builder.info.splits)
    if split == "test" and "test" not in splits and "validation" in splits:
      split = "validation"  # ImageNet and others hold out under this name.
    if splits and split not in splits:
      raise ValueError(f"the tfds data set {name!r} has splits {splits}; expected 'train', and "
                       "'test' or 'validation'.")
    label = features["label"] if "label" in features else None  # None: for unconditional models.
    of_one_class = hasattr(label, "num_classes") and label.shape == ()
    if "image" not in features or not (label is None or of_one_class):
      raise ValueError(f"the tfds data set {name!r} has features {sorted(features)}; expected "
                       "'image', and 'label' of one class per image or no 'label'.")
    try:
      self._source = builder.as_data_source(split=split)
    except Exception as error:
      raise ValueError(f"the tfds data set {name!r} cannot be read ({_first_line(error)}); prepare "
                       "it in config.data.data_dir, of `ntm encode` --data_dir, with "
                       "file_format='array_record'.") from error
    self._name, self._shape = f"{builder.info.full_name} {split}", image_shape
    self.has_labels = label is not None
    self.num_classes = 1 if label is None else label.num_classes

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    """One example; ValueError if its pixels or label are none that are read."""
    example = self._source[index]
    label = int(example.get("label", 0))
    if not 0 <= label < self.num_classes:
      raise ValueError(f"example {index} of {self._name} has label {label}; expected 0 to "
                       f"{self.num_classes - 1}.")
    try:
      image = images.from_pixels(example["image"])
    except ValueError as error:
      raise ValueError(f"example {index} of {self._name} cannot be used: {error}.") from error
    return images.example(image, label, self._shape)

  def record(self) -> list[str]:
    """Name, version, split and number of the examples."""
    return [f"{self._name}, {len(self)} examples"]


def _first_line(error):
  return f"{error}".strip().partition("\n")[0] or type(error).__name__


def level_spacing(config: DataConfig) -> float:
  """Distance between neighbouring values of the data, in the scale [-1, 1].

  Raises:
    ValueError: arrays, shards and synthetic data, whose values are anything, and interpolated
      digits.
  """
  if config.augment:
    raise ValueError("config.data.augment is True, and interpolated images have no levels of known "
                     "distance; expected False. `ntm evaluate` and Model.log_prob give the density "
                     "of these.")
  if config.source in ("arrays", "shards", *_ENDLESS) or extension.is_path(config.source):
    raise ValueError(f"config.data.source is {config.source!r}; expected images whose values have "
                     "levels of known distance. For others, `ntm evaluate` and Model.log_prob give "
                     "the density.")
  return 2 / 16 if config.source == "digits" else 2 / 255
