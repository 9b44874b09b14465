"""Examples prepared ahead: latents, or images of any kind, with classes or text features.

A directory with one sub-directory a split, `train` and `test`, each holding

  image.npy   [n, *image_shape], float: latents as an autoencoder gives them,
              or anything else; used as they are;
  label.npy   [n], integer classes, or
  text.npy    [n, M, W], float features of every text (neither: unconditional),

and next to them null_text.npy, [M, W], the features of the empty text, which
training puts in place of a share of the texts. Files are memory-mapped, of any
byte order and layout.
"""

import os
import pathlib

import numpy as np

from ntm.config import ModelConfig


class Arrays:
  """One split of such a directory, checked against the model.

  Attributes:
    null_text: the features of the empty text under "text", or None.
  """

  def __init__(self, path: str, split: str, model: ModelConfig):
    root = pathlib.Path(path)
    if not path or not (root / split).is_dir():
      raise ValueError(f"config.data.path is {path!r}, which has no directory {split!r}; expected "
                       "one prepared as docs/data.md says.")
    text = (model.backbone.text_tokens, model.backbone.text_width)
    self._directory = root / split
    self._arrays = {"image": _open(root / split / "image.npy", model.image_shape)}
    self.null_text = None
    if model.backbone.text_tokens:
      self._arrays["text"] = _open(root / split / "text.npy", text)
      if (root / "null_text.npy").exists():
        null_text = _open(root / "null_text.npy", text[1:])
        if len(null_text) != text[0]:
          raise ValueError(f"{root / 'null_text.npy'} has {len(null_text)} tokens, the texts have "
                           f"{text[0]}.")
        self.null_text = {"text": _finite(null_text, f"{root / 'null_text.npy'}")}
    elif model.num_classes:
      labels = self._arrays["label"] = _open(root / split / "label.npy", ())
      low, high = labels.min(), labels.max()
      if low < 0 or high >= model.num_classes:
        raise ValueError(f"{root / split / 'label.npy'} holds classes {low} to {high}, but "
                         f"config.model.num_classes is {model.num_classes}.")
    first, *others = (len(array) for array in self._arrays.values())
    if others and others[0] != first:
      raise ValueError(f"{root / split} has {first} images and {others[0]} labels or texts; "
                       "expected as many.")

  def __len__(self) -> int:
    return len(self._arrays["image"])

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    """One example; ValueError if a value of it is NaN or infinite."""
    return {name: (np.int32(array[index]) if name == "label" else
                   _finite(array[index], f"{self._directory / name}.npy[{index}]"))
            for name, array in self._arrays.items()}

  def record(self) -> list[str]:
    """Name, type and shape of the arrays of this split."""
    return [f"{self._directory.name}/{name}.npy {array.dtype.name} {list(array.shape)}"
            for name, array in self._arrays.items()]


def _finite(array, name):
  """A copy in float32, without NaN and infinities."""
  with np.errstate(over="ignore"):
    copy = np.array(array, np.float32)
  if not np.isfinite(copy).all():
    place = tuple(np.argwhere(~np.isfinite(copy))[0].tolist())
    raise ValueError(f"{name} holds {array[place]} at {list(place)}; expected values that are "
                     "finite in float32. Prepare that example again.")
  return copy


def _open(path, shape):
  """The memory-mapped array in a file, of entries of this shape."""
  try:
    array = np.load(path, mmap_mode="r")
  except Exception as error:  # On damaged headers NumPy raises errors of half a dozen types.
    reason = (f"{error}".strip() or type(error).__name__).splitlines()[0]
    raise ValueError(f"{path} cannot be read as an array ({reason}); write it again with "
                     "numpy.save.") from error
  if not isinstance(array, np.memmap):
    raise ValueError(f"{path} is an archive of arrays; expected one array, as numpy.save writes.")
  kinds, expected, types = ("iu", "integers", "") if shape == () else (
      "f", "floats", ", in float16, float32 or float64")
  if array.dtype.kind not in kinds or array.ndim != 1 + len(shape) or (
      array.shape[1:] != shape or not len(array)):
    sizes = ", ".join(map(str, ("n", *shape))) + ("," if shape == () else "")
    raise ValueError(f"{path} holds {array.dtype} of shape {array.shape}; expected {expected} of "
                     f"shape ({sizes}), n at least 1{types}.")
  size, needed = os.path.getsize(path), array.offset + array.nbytes
  if size != needed:
    raise ValueError(f"{path} has {size} bytes, and by its header {needed}; write it again with "
                     "numpy.save.")
  return array
