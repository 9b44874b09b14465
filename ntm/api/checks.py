"""What the arguments of the interface must satisfy; each failure names value and expectation."""

import numpy as np

from ntm.config import ModelConfig


def guidance(scale: float, label_B: np.ndarray | None) -> None:
  """Raises ValueError unless a guidance scale makes sense for these labels."""
  if not 0 <= scale < np.inf:
    raise ValueError(f"guidance is {scale}; expected 0 (none) or more.")
  if scale and label_B is None:
    raise ValueError(f"guidance is {scale}, but the model is unconditional; pass 0.")


def labels(config: ModelConfig, values, count: int | None) -> np.ndarray | None:
  """Labels as int32 [B], or None for an unconditional model.

  Args:
    config: of the model.
    values: class indices, or None.
    count: images of an unconditional model; not read otherwise.

  Raises:
    ValueError: labels missing, surplus, out of range, or of wrong type; no count.
  """
  classes = config.num_classes
  if config.backbone.text_tokens:
    raise ValueError("the model is conditioned on text features, which this interface does not "
                     "take; use ntm.inference with them as label_B.")
  if not classes:
    if values is not None:
      raise ValueError("labels were given, but the model is unconditional; pass None.")
    if count is None or count < 1:
      raise ValueError(f"num_samples is {count}; an unconditional model needs at least 1.")
    return None
  if values is None:
    raise ValueError(f"labels is None; expected class indices from 0 to {classes - 1}.")
  values = np.asarray(values)
  if values.ndim != 1 or not values.size or not np.issubdtype(values.dtype, np.integer):
    raise ValueError(f"labels have shape {values.shape} and type {values.dtype}; expected a "
                     "non-empty list of integers.")
  wrong = values[(values < 0) | (values >= classes)]
  if wrong.size:
    raise ValueError(f"label {wrong[0]} is out of range; classes are 0 to {classes - 1}.")
  return values.astype(np.int32)


def images(config: ModelConfig, values) -> np.ndarray:
  """Images as float32 in [-1, 1].

  Raises:
    ValueError: wrong shape, type or range; NaN.
  """
  values, shape = np.asarray(values), config.image_shape
  if values.shape[1:] != shape or not values.size:
    raise ValueError(f"images have shape {values.shape}; expected (batch, "
                     f"{', '.join(map(str, shape))}), at least one.")
  if values.dtype == np.uint8:
    return values.astype(np.float32) / 127.5 - 1
  if not np.issubdtype(values.dtype, np.floating):
    raise ValueError(f"images have type {values.dtype}; expected float in [-1, 1] or uint8.")
  if not np.isfinite(values).all():
    raise ValueError(f"images hold {np.size(values) - np.isfinite(values).sum()} values that "
                     "are NaN or infinite.")
  if np.abs(values).max() > 1:
    raise ValueError(f"images range from {values.min():.4g} to {values.max():.4g}; expected "
                     "[-1, 1] (clip samples first).")
  return values.astype(np.float32)
