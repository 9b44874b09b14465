"""Examples prepared ahead: latents, or images of any kind, with classes or text features.

A directory with one sub-directory a split, `train` and `test`, each holding

  image.npy   [n, *image_shape], float: latents as an autoencoder gives them,
              or anything else; used as they are;
  label.npy   [n], integer classes, or
  text.npy    [n, M, W], float features of every text (neither: unconditional),

and beside them null_text.npy, [M, W], the features of the empty text, which
training puts in place of a share of the texts. Files are memory-mapped.
"""

import pathlib

import numpy as np

from ntm.config import ModelConfig


class Arrays:
  """One split of such a directory, checked against the model.

  Attributes:
    null_text: features of the empty text, or None.
  """

  def __init__(self, path: str, split: str, model: ModelConfig):
    root = pathlib.Path(path)
    if not path or not (root / split).is_dir():
      raise ValueError(f"config.data.path is {path!r}, which has no directory {split!r}; expected "
                       "one prepared as ntm/data/arrays.py says.")
    text = (model.backbone.text_tokens, model.backbone.text_width)
    self._image = _open(root / split / "image.npy", model.image_shape)
    self._name, self._condition, self.null_text = None, None, None
    if model.backbone.text_tokens:
      self._name, self._condition = "text", _open(root / split / "text.npy", text)
      if (root / "null_text.npy").exists():
        self.null_text = np.array(_open(root / "null_text.npy", text[1:]), np.float32)
        if len(self.null_text) != text[0]:
          raise ValueError(f"{root / 'null_text.npy'} has {len(self.null_text)} tokens, the texts "
                           f"have {text[0]}.")
    elif model.num_classes:
      self._name, self._condition = "label", _open(root / split / "label.npy", ())
      low, high = self._condition.min(), self._condition.max()
      if low < 0 or high >= model.num_classes:
        raise ValueError(f"{root / split / 'label.npy'} holds classes {low} to {high}, but "
                         f"config.model.num_classes is {model.num_classes}.")
    if self._condition is not None and len(self._condition) != len(self._image):
      raise ValueError(f"{root / split} has {len(self._image)} images and {len(self._condition)} "
                       "labels or texts; expected as many.")

  def __len__(self) -> int:
    return len(self._image)

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    example = {"image": np.array(self._image[index], np.float32)}
    if self._name == "text":
      example["text"] = np.array(self._condition[index], np.float32)
    elif self._name == "label":
      example["label"] = np.int32(self._condition[index])
    return example


def _open(path, shape):
  """The memory-mapped array in a file, of entries of this shape."""
  try:
    array = np.load(path, mmap_mode="r")
  except (OSError, ValueError) as error:
    raise ValueError(f"{path} cannot be read as an array ({error}).") from error
  integers = np.issubdtype(array.dtype, np.integer)
  if array.shape[1:] != shape or not len(array) or integers != (shape == ()):
    raise ValueError(f"{path} holds {array.dtype} of shape {array.shape}; expected "
                     f"{'integers' if shape == () else 'floats'} of shape (n, "
                     f"{', '.join(map(str, shape))}).")
  return array
