"""The public interface: a restored model that samples and scores images."""

import os

import jax
import jax.numpy as jnp
import numpy as np

from ntm.config import Config
from ntm.inference import generate
from ntm.inference import likelihood as likelihood_lib
from ntm.models import ntm
from ntm.nn.patchify import patchify
from ntm.training import checkpoint, objectives
from ntm.typing import PRNGKey

_CHUNK = 256  # Images at a time: bounds memory, and every call compiles once.


def restore(workdir: str | os.PathLike, step: int | None = None) -> "Model":
  """Loads config and EMA parameters of a run or a converted checkpoint.

  Args:
    workdir: directory that `ntm train` wrote.
    step: which checkpoint; None is the newest one that can be read.

  Raises:
    FileNotFoundError: no run there, or no such complete checkpoint.
    ValueError: a checkpoint that cannot be read.
  """
  config, params, step = checkpoint.restore_ema(workdir, step)
  return Model(config, params, step)


class Model:
  """A Normalizing Trajectory Model ready for use; immutable.

  Attributes:
    config: of the run.
    params: averaged parameters.
    step: updates behind them.
  """

  def __init__(self, config: Config, params, step: int):
    self.config, self.params, self.step = config, params, step
    self._model = ntm.build(config)
    self._generators = {}
    self._likelihood = jax.jit(self._draw_and_score, static_argnums=4)

  def sample(self, rng: PRNGKey, labels=None, num_steps: int | None = None, guidance: float = 0.0,
             refine: str | None = "score", num_samples: int | None = None,
             clip_percentile: float = 100.0) -> np.ndarray:
    """Generates images.

    Args:
      rng: a key.
      labels: class index of every image; None for an unconditional model.
      num_steps: T, one the model was trained for; None is the first of those.
      guidance: classifier-free guidance scale, 0 for none.
      refine: None for the sampled state at level t_min, 'score' for trajectory
        score refinement.
      num_samples: number of images of an unconditional model.
      clip_percentile: clips the score's entries; 100 does not.

    Returns:
      float32 ``[B, *image_shape]`` in the data's scale, nominally [-1, 1].

    Raises:
      ValueError: an argument out of range, with what was expected.
    """
    labels = self._check_labels(labels, num_samples)
    num_steps = self._check_num_steps(num_steps)
    if not 0 <= guidance < np.inf:
      raise ValueError(f"guidance is {guidance}; expected 0 (none) or more.")
    if guidance and labels is None:
      raise ValueError(f"guidance is {guidance}, but the model is unconditional; pass 0.")
    if guidance and self.config.model.transporter.class_conditional:
      raise ValueError(f"guidance is {guidance}, but the transporter reads the class, so the two "
                       "branches have no common u-space; pass 0.")
    if refine not in generate.REFINEMENTS:
      raise ValueError(f"refine is {refine!r}; expected one of {generate.REFINEMENTS}.")
    if not 0 < clip_percentile <= 100:
      raise ValueError(f"clip_percentile is {clip_percentile}; expected above 0, at most 100.")
    count = num_samples if labels is None else len(labels)
    make = (refine, clip_percentile)
    if make not in self._generators:
      self._generators[make] = generate.make_generator(self._model, self.config.process, *make)
    guidance = jnp.float32(guidance) if guidance else None
    size = min(count, _CHUNK)
    images = []
    for i, start in enumerate(range(0, count, size)):
      part = None if labels is None else np.resize(labels[start:start + size], size)
      out = self._generators[make](jax.random.fold_in(rng, i), self.params, part, size, num_steps,
                                   guidance)
      images.append(np.asarray(out.images))
    return np.concatenate(images)[:count]

  def log_prob(self, rng: PRNGKey, images, labels=None,
               num_steps: int | None = None) -> likelihood_lib.Likelihood:
    """Trajectory log-likelihood of images, one forward trajectory each.

    Args:
      rng: a key, of the forward noise.
      images: ``[B, *image_shape]``, float in [-1, 1] or uint8 in [0, 255].
      labels: class index of every image; None scores under the null class, or
        an unconditional model.
      num_steps: T, one the model was trained for; None is the first of those.

    Returns:
      Per example, in nats: the trajectory's log-likelihood, its steps, a lower
      bound on that of the image at noise level t_min; nats and bits per
      dimension. See `ntm.inference.likelihood`.

    Raises:
      ValueError: images or labels of wrong shape, type or range; NaN.
    """
    images = self._check_images(images)
    num_steps = self._check_num_steps(num_steps)
    if self.config.model.num_classes and labels is None:
      labels = np.full(len(images), self.config.model.num_classes, np.int32)
    else:
      labels = self._check_labels(labels, len(images))
      if labels is not None and len(labels) != len(images):
        raise ValueError(f"there are {len(labels)} labels for {len(images)} images.")
    size = min(len(images), _CHUNK)
    parts = []
    for i, start in enumerate(range(0, len(images), size)):
      chunk = np.resize(images[start:start + size], (size,) + images.shape[1:])
      part = None if labels is None else np.resize(labels[start:start + size], size)
      parts.append(self._likelihood(jax.random.fold_in(rng, i), self.params, chunk, part,
                                    num_steps))
    return jax.tree.map(lambda *a: np.concatenate(a, axis=-1)[..., :len(images)], *parts)

  def _draw_and_score(self, rng, params, images, label_B, num_steps):
    x0_BNC = patchify(images, self.config.model.patch_shape)
    t_min_B = jnp.full((x0_BNC.shape[0],), self.config.process.t_min)
    trajectory = objectives.draw_trajectory(rng, x0_BNC, label_B, self.config, t_min_B, num_steps)
    return likelihood_lib.likelihood(self._model, params, trajectory)

  def _check_num_steps(self, num_steps):
    known = self.config.process.num_steps
    if num_steps is not None and num_steps not in known:
      raise ValueError(f"num_steps is {num_steps}, but the model was trained for "
                       f"{' or '.join(map(str, known))} steps.")
    return known[0] if num_steps is None else num_steps

  def _check_labels(self, labels, count) -> np.ndarray | None:
    classes = self.config.model.num_classes
    if not classes:
      if labels is not None:
        raise ValueError("labels were given, but the model is unconditional; pass None.")
      if count is None or count < 1:
        raise ValueError(f"num_samples is {count}; an unconditional model needs at least 1.")
      return None
    if labels is None:
      raise ValueError(f"labels is None; expected class indices from 0 to {classes - 1}.")
    labels = np.asarray(labels)
    if labels.ndim != 1 or not labels.size or not np.issubdtype(labels.dtype, np.integer):
      raise ValueError(f"labels have shape {labels.shape} and type {labels.dtype}; expected a "
                       "non-empty list of integers.")
    wrong = labels[(labels < 0) | (labels >= classes)]
    if wrong.size:
      raise ValueError(f"label {wrong[0]} is out of range; classes are 0 to {classes - 1}.")
    return labels.astype(np.int32)

  def _check_images(self, images) -> np.ndarray:
    images, shape = np.asarray(images), self.config.model.image_shape
    if images.shape[1:] != shape or not images.size:
      raise ValueError(f"images have shape {images.shape}; expected (batch, "
                       f"{', '.join(map(str, shape))}), at least one.")
    if images.dtype == np.uint8:
      return images.astype(np.float32) / 127.5 - 1
    if not np.issubdtype(images.dtype, np.floating):
      raise ValueError(f"images have type {images.dtype}; expected float in [-1, 1] or uint8.")
    if not np.isfinite(images).all():
      raise ValueError(f"images hold {np.size(images) - np.isfinite(images).sum()} values that "
                       "are NaN or infinite.")
    if np.abs(images).max() > 1:
      raise ValueError(f"images range from {images.min():.4g} to {images.max():.4g}; expected "
                       "[-1, 1] (clip samples first).")
    return images.astype(np.float32)
