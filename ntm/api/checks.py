"""What arguments and results must satisfy; each failure names value and expectation."""

import logging
import numbers

import jax
import numpy as np

from ntm.config import Config, ModelConfig
from ntm.typing import Condition

_LOG = logging.getLogger("ntm")


def guidance(config: ModelConfig, scale: float, cond: Condition, null_text) -> Condition | None:
  """What the branch without condition reads, one row of it; None without guidance.

  Args:
    config: of the model.
    scale: of guidance.
    cond: what `condition` returned.
    null_text: features of the empty text, or None.

  Raises:
    ValueError: a negative scale, or one without a condition; a text that is
      missing, surplus or of another shape.
  """
  if not isinstance(scale, numbers.Real) or not 0 <= scale < np.inf:
    raise ValueError(f"guidance is {scale!r}; expected a number, 0 (none) or more.")
  if scale and not jax.tree.leaves(cond):
    raise ValueError(f"guidance is {scale}, but the model is unconditional; pass 0.")
  by_text = bool(scale and config.backbone.text_tokens)
  if by_text != (null_text is not None):
    raise ValueError(f"guidance is {scale} and null_text is "
                     f"{'missing' if null_text is None else 'given'}; expected the features of "
                     "the empty text with guidance by text, and with nothing else.")
  if by_text:
    return Condition(text_BMW=texts(config, np.asarray(null_text)[None]))
  return Condition(label_B=np.full(1, config.num_classes, np.int32)) if scale else None


def warn_of_untrained_guidance(config: Config, scale: float) -> None:
  """Logs a warning if guidance would read a null class or text that was never trained."""
  if scale and not config.train.label_dropout:
    _LOG.warning("guidance is %g, but the run was trained with label_dropout 0: the branch without "
                 "condition was never trained", scale)


def texts(config: ModelConfig, values) -> np.ndarray:
  """Text features as float32 [B, M, W].

  Raises:
    ValueError: wrong shape or type; NaN.
  """
  values, shape = np.asarray(values), (config.backbone.text_tokens, config.backbone.text_width)
  if values.shape[1:] != shape or not values.size:
    raise ValueError(f"text features have shape {values.shape}; expected (batch, {shape[0]}, "
                     f"{shape[1]}), at least one.")
  if not np.issubdtype(values.dtype, np.floating) or not np.isfinite(values).all():
    raise ValueError(f"text features have type {values.dtype}; expected finite floats.")
  return values.astype(np.float32)


def condition(config: ModelConfig, values, count: int | None) -> tuple[Condition, int]:
  """(class as int32 or text features as float32 of every image, number of images).

  Args:
    config: of the model.
    values: class indices, text features, or None.
    count: images of an unconditional model; otherwise None, or that of the values.

  Raises:
    ValueError: labels missing, surplus, out of range, or of wrong type; no count.
  """
  classes = config.num_classes
  if count is not None and values is not None and np.ndim(values) and len(values) != count:
    raise ValueError(f"num_samples is {count}, but there are {len(values)} labels; leave "
                     "num_samples out, or pass a label for every image.")
  if config.backbone.text_tokens:
    if values is None:
      raise ValueError("labels is None, but the model is conditioned on text; pass its features.")
    return Condition(text_BMW=texts(config, values)), len(values)
  if not classes:
    if values is not None:
      raise ValueError("labels were given, but the model is unconditional; pass None.")
    if not isinstance(count, int | np.integer) or count < 1:
      raise ValueError(f"num_samples is {count}; an unconditional model needs at least 1.")
    return Condition(), int(count)
  if values is None:
    raise ValueError(f"labels is None; expected class indices from 0 to {classes - 1}.")
  values = np.asarray(values)
  if values.ndim != 1 or not values.size or not np.issubdtype(values.dtype, np.integer):
    raise ValueError(f"labels have shape {values.shape} and type {values.dtype}; expected a "
                     "non-empty list of integers.")
  wrong = values[(values < 0) | (values >= classes)]
  if wrong.size:
    raise ValueError(f"label {wrong[0]} is out of range; classes are 0 to {classes - 1}.")
  return Condition(label_B=values.astype(np.int32)), len(values)


def finite(what: str, values_B) -> None:
  """Refuses results of which some are NaN or infinite, as damaged parameters give.

  Args:
    what: the examples, for the error.
    values_B: an array whose first axis is the examples.

  Raises:
    FloatingPointError: how many of how many examples are not finite.
  """
  values = np.asarray(values_B)
  wrong = (~np.isfinite(values.reshape(len(values), -1))).any(axis=1).sum()
  if wrong:
    raise FloatingPointError(
        f"{wrong} of {len(values)} {what} hold NaN or infinite numbers and are not written. Try "
        "another --checkpoint or less --guidance; if all do, the model is damaged or diverged.")


def images(config: Config, values) -> np.ndarray:
  """Images as float32 in [-1, 1]; of prepared arrays and mixtures, of any range.

  Raises:
    ValueError: wrong shape, type or range; NaN.
  """
  values, shape = np.asarray(values), config.model.image_shape
  if values.shape[1:] != shape or not values.size:
    raise ValueError(f"images have shape {values.shape}; expected (batch, "
                     f"{', '.join(map(str, shape))}), at least one.")
  latents = config.data.source in ("arrays", "shards", "mixture")
  if values.dtype == np.uint8 and not latents:
    return values.astype(np.float32) / 127.5 - 1
  if not np.issubdtype(values.dtype, np.floating):
    raise ValueError(f"images have type {values.dtype}; expected float in [-1, 1] or uint8.")
  if not np.isfinite(values).all():
    raise ValueError(f"images hold {np.size(values) - np.isfinite(values).sum()} values that "
                     "are NaN or infinite.")
  if not latents and np.abs(values).max() > 1:
    raise ValueError(f"images range from {values.min():.4g} to {values.max():.4g}; expected "
                     "[-1, 1] (clip samples first).")
  return values.astype(np.float32)
