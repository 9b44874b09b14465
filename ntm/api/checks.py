"""What arguments and results must satisfy; each failure names value and expectation."""

import logging
import numbers

import numpy as np

from ntm.config import Config, ModelConfig
from ntm.data import captions
from ntm.data.prompts import Tokens
from ntm.sampling import generate
from ntm.typing import Condition

_LOG = logging.getLogger("ntm")
_ANY_RANGE = ("arrays", "mixture", "sounds", "clips")  # Sources whose values may leave [-1, 1].


def guidance(config: Config, scale: float, null_text) -> Condition | None:
  """What the branch without condition reads, one row of it; None without guidance.

  Args:
    config: of the run.
    scale: of guidance.
    null_text: features of the empty text, or None; a model of prompts has its own.

  Raises:
    ValueError: as `guidance_scale`; a text that is missing, surplus or of another shape.
  """
  guidance_scale(config, scale)
  model = config.model
  by_text = bool(scale and model.backbone.text_tokens and not config.text.tokenizer)
  if by_text != (null_text is not None):
    raise ValueError(f"guidance is {scale} and null_text is "
                     f"{'missing' if null_text is None else 'given'}; expected the features of "
                     "the empty text with guidance by text, and with nothing else.")
  if by_text:
    return Condition(text_BMW=texts(model, np.asarray(null_text)[None]))
  return null_condition(config) if scale else None


def guidance_scale(config: Config, scale: float) -> None:
  """Refuses guidance that the model does not support.

  Raises:
    ValueError: a negative scale; one of an unconditional model, or of an NTM whose transporter
      reads the class.
  """
  if not isinstance(scale, numbers.Real) or not 0 <= scale < np.inf:
    raise ValueError(f"guidance is {scale!r}; expected a number, 0 (none) or more.")
  model, transporter = config.model, config.model.transporter
  if scale and not (model.num_classes or model.backbone.text_tokens):
    raise ValueError(f"guidance is {scale}, but the model is unconditional; pass 0.")
  if scale and model.kind == "ntm" and (transporter.class_conditional or transporter.features):
    raise ValueError(f"guidance is {scale}, but the transporter reads the condition"
                     f"{' through features' if transporter.features else ''}, so the Gaussians "
                     "with and without it are in different spaces; pass 0.")


def num_steps(config: Config, value: int | None) -> int:
  """T of sampling and scoring by an NTM; None is the first that it was trained for.

  Raises:
    ValueError: another T than those of the run.
  """
  known = config.process.num_steps
  if value is not None and value not in known:
    raise ValueError(f"num_steps is {value!r}, but the model was trained for "
                     f"{' or '.join(map(str, known))} steps; pass "
                     f"{'one of them' if len(known) > 1 else known[0]}, or leave it out.")
  return known[0] if value is None else value


def refinement(value: str | None, has_denoiser: bool) -> str | None:
  """How the last state of an NTM is refined; None for not at all.

  Args:
    value: as `Model.sample` takes it.
    has_denoiser: whether the model has a learned denoiser.

  Raises:
    ValueError: an unknown refinement, or a denoiser that is not there.
  """
  value = None if value == "none" else value
  if value not in generate.REFINEMENTS:
    raise ValueError(f"refine is {value!r}; expected one of 'none', 'score', 'denoiser'.")
  if value == "denoiser" and not has_denoiser:
    raise ValueError("refine is 'denoiser', but this model has none; run `ntm distill` for its "
                     "workdir, or in Python name one: ntm.restore(..., denoiser=DIR).")
  return value


def null_condition(config: Config) -> Condition:
  """One row of the null class, or of the empty prompt."""
  if config.text.tokenizer:
    return _tokens(captions.tokenizer(config.text, config.model.backbone).unconditional())
  return Condition(label_B=np.full(1, config.model.num_classes, np.int32))


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


def condition(config: Config, values, count: int | None) -> tuple[Condition, int]:
  """(class, token ids or text features of every image, number of images).

  Args:
    config: of the run.
    values: class indices, prompts or their `Tokens`, text features, or None.
    count: images of an unconditional model; otherwise None, or that of the values.

  Raises:
    ValueError: labels or token ids missing, surplus, out of range, or of wrong type; no count.
  """
  model, classes = config.model, config.model.num_classes
  if count is not None and values is not None and np.ndim(values) and len(values) != count:
    raise ValueError(f"num_samples is {count}, but there are {len(values)} labels; leave "
                     "num_samples out, or pass a label for every image.")
  if config.text.tokenizer:
    if values is None:
      raise ValueError("prompts is None, but the model is conditioned on text; pass a list of "
                       "strings.")
    if not isinstance(values, Tokens):
      values = captions.tokenizer(config.text, model.backbone)(values)
    if model.backbone.vocab_size:  # That of a frozen encoder was compared with the tokenizer's.
      values.check_vocabulary(model.backbone.vocab_size)
    return _tokens(values), len(values.ids_BM)
  if model.backbone.text_tokens:
    if values is None:
      raise ValueError("labels is None, but the model is conditioned on text; pass its features.")
    return Condition(text_BMW=texts(model, values)), len(values)
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


def _tokens(tokens: Tokens) -> Condition:
  return Condition(ids_BM=tokens.ids_BM, mask_BM=tokens.mask_BM)


def prompts_or_labels(config: Config, prompts, labels):
  """What conditions samples.

  Raises:
    ValueError: both are given, or prompts for a model that reads none.
  """
  if prompts is None:
    return labels
  if labels is not None:
    raise ValueError("labels and prompts are given; expected prompts alone.")
  if not config.text.tokenizer:
    model = config.model
    expected = ("text features as labels" if model.backbone.text_tokens else
                "class indices as labels" if model.num_classes else "none, it is unconditional")
    raise ValueError("prompts are given, but the model has no text.tokenizer; expected "
                     f"{expected}.")
  return prompts


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


def images(config: Config, values, pixel_shape: tuple[int, ...]) -> np.ndarray:
  """Images as float32 in [-1, 1]; of latents, arrays, mixtures, sounds and clips, of any range.

  Args:
    config: of the run.
    values: [B, *pixel_shape], or latents, [B, *config.model.image_shape].
    pixel_shape: of the images that an autoencoder encodes; without one, the model's.

  Raises:
    ValueError: wrong shape, type or range; NaN.
  """
  values, shape = np.asarray(values), config.model.image_shape
  if values.shape[1:] not in (shape, pixel_shape) or not values.size:
    latents = f", or latents (batch, {', '.join(map(str, shape))})" * (shape != pixel_shape)
    raise ValueError(f"images have shape {values.shape}; expected (batch, "
                     f"{', '.join(map(str, pixel_shape))}){latents}, at least one.")
  latents = (values.shape[1:] != pixel_shape
             or config.data.source in _ANY_RANGE and not config.autoencoder.path)
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
