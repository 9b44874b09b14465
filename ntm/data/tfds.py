"""Data sets of tensorflow-datasets."""

import numpy as np

from ntm.data import images


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
