"""The examples of an extension, each checked against the model when it is read."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ntm.config import ModelConfig
from ntm.data.unreadable import Replacing

_PROBES = 16  # Examples read at the start, spread over the source.


class External:
  """A source from outside of `ntm`; other attributes than these are its own."""

  def __init__(self, source: Any, path: str, model: ModelConfig):
    """Checks the source and a few examples, spread over it.

    Args:
      source: what the function of the extension returned.
      path: "module:name" of that function, for messages.
      model: the sizes that the examples must have.

    Raises:
      ValueError: a missing method, another number of classes, an example that does not fit.
    """
    missing = [name for name in ("__len__", "__getitem__", "record") if not hasattr(source, name)]
    if missing:
      raise ValueError(f"{path!r} returns {type(source).__name__} without {', '.join(missing)}; "
                       "expected examples by index and record(), see docs/extending.md.")
    self._source, self._path, self._model = source, path, model
    classes = getattr(source, "num_classes", None)
    if model.num_classes and classes != model.num_classes:
      raise ValueError(f"{path!r} has num_classes {classes}, but config.model.num_classes is "
                       f"{model.num_classes}; set them equal.")
    examples = Replacing(self)
    for index in np.unique(np.linspace(0, max(len(self) - 1, 0), _PROBES, dtype=int)):
      examples[int(index)]

  def __getattr__(self, name: str) -> Any:
    return getattr(self._source, name)

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    """One example; ValueError unless its image and label are those of the model."""
    example, model = self._source[index], self._model
    where = f"example {index} of {self._path!r}"
    if not isinstance(example, Mapping):
      raise ValueError(f"{where} is of type {type(example).__name__}; expected a dictionary with "
                       "'image' and 'label'.")
    image, label = np.asarray(example.get("image")), np.asarray(example.get("label"))
    if image.shape != model.image_shape or image.dtype != np.float32:
      raise ValueError(f"{where} has an image of type {image.dtype} and shape {image.shape}; "
                       f"expected float32 of config.model.image_shape {model.image_shape}.")
    if not np.isfinite(image).all():
      raise ValueError(f"{where} has NaN or infinite values in its image; expected finite ones.")
    if model.num_classes and not (label.dtype.kind in "iu" and label.shape == ()
                                  and 0 <= label < model.num_classes):
      raise ValueError(f"{where} has label {example.get('label')!r}; expected an integer from 0 to "
                       f"{model.num_classes - 1}.")
    return example
