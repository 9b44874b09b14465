"""A restored NTM: samples and scores images."""

import logging

import jax
import jax.numpy as jnp
import numpy as np

from ntm.api import batching, checks
from ntm.config import Config
from ntm.likelihood import bounds as likelihood_lib
from ntm.models import ntm
from ntm.nn.patchify import patchify
from ntm.process import schedule
from ntm.process.trajectory import draw_trajectory, sample_trajectory
from ntm.sampling import generate
from ntm.typing import PRNGKey

_LOG = logging.getLogger("ntm")


class Model:
  """A Normalizing Trajectory Model ready for use; immutable.

  Attributes:
    config: of the run.
    params: averaged parameters.
    step: updates behind them.
  """

  def __init__(self, config: Config, params, step: int, denoiser=None):
    self.config, self.params, self.step = config, params, step
    self._denoiser, self._denoiser_params = denoiser or (None, None)
    self._model = ntm.build(config)
    self._generators = {}
    self._likelihood = jax.jit(self._draw_and_score, static_argnums=4)
    self._standardise = jax.jit(self._draw_and_standardise, static_argnums=4)
    self._weigh = jax.jit(self._draw_and_weigh, static_argnums=(4, 5))

  def sample(self, rng: PRNGKey, labels=None, num_steps: int | None = None, guidance: float = 0.0,
             refine: str | None = "score", num_samples: int | None = None,
             clip_percentile: float = 100.0, null_text=None,
             progress: batching.Progress | None = None) -> np.ndarray:
    """Generates images.

    Args:
      rng: a key.
      labels: class index of every image, or its text features ``[B, M, W]``;
        None for an unconditional model.
      num_steps: T, one the model was trained for; None is the first of those.
      guidance: classifier-free guidance scale, 0 for none.
      refine: None for the sampled state at level t_min, 'score' for trajectory
        score refinement, 'denoiser' for the learned one.
      num_samples: number of images of an unconditional model; None if there are labels.
      clip_percentile: clips the score's entries; 100 does not.
      null_text: features ``[M, W]`` of the empty text, for guidance by text.
      progress: called with (images done, images in all) after every 256 images.

    Returns:
      float32 ``[B, *image_shape]`` in the data's scale, nominally [-1, 1]. Not checked
      for NaN, which extreme guidance can give; `ntm sample` refuses to write them.

    Raises:
      ValueError: an argument out of range, with what was expected.
    """
    labels = checks.labels(self.config.model, labels, num_samples)
    num_steps = self._num_steps(num_steps)
    null_B = checks.guidance(self.config.model, guidance, labels, null_text)
    checks.warn_of_untrained_guidance(self.config, guidance)
    if guidance and self.config.model.transporter.class_conditional:
      raise ValueError(f"guidance is {guidance}, but the transporter reads the class, so the two "
                       "branches have no common u-space; pass 0.")
    if refine not in generate.REFINEMENTS:
      raise ValueError(f"refine is {refine!r}; expected one of {generate.REFINEMENTS}.")
    if refine == "denoiser" and self._denoiser is None:
      raise ValueError("refine is 'denoiser', but this model has none; run `ntm distill` for its "
                       "workdir, or name one: ntm.restore(..., denoiser=DIR).")
    if not 0 < clip_percentile <= 100:
      raise ValueError(f"clip_percentile is {clip_percentile}; expected above 0, at most 100.")
    make = (refine, clip_percentile)
    if make not in self._generators:
      self._generators[make] = generate.make_generator(
          self._model, self.config.process, *make, self._denoiser)
    guidance = jnp.float32(guidance) if guidance else None

    def generate_images(rng, label_B, size):
      """Images, their fallbacks logged."""
      null = None if null_B is None else batching.fill(null_B, size)
      out = self._generators[make](rng, self.params, label_B, size, num_steps, guidance,
                                   self._denoiser_params, null)
      if out.fallbacks:
        _LOG.info("%d inverses did not converge and were redone by scan", out.fallbacks)
      return out.images

    return batching.draw(generate_images, rng, labels,
                       num_samples if labels is None else len(labels), progress)

  def log_prob(self, rng: PRNGKey, images, labels=None,
               num_steps: int | None = None) -> likelihood_lib.Likelihood:
    """Trajectory log-likelihood of images, one forward trajectory each.

    Args:
      rng: a key, of the forward noise.
      images: ``[B, *image_shape]``, float in [-1, 1] or uint8 in [0, 255];
        latents are float of any range.
      labels: class index of every image; None scores under the null class, or
        an unconditional model. Text features ``[B, M, W]`` of a model of texts.
      num_steps: T, one the model was trained for; None is the first of those.

    Returns:
      Per example, in nats: the trajectory's log-likelihood, its steps, a lower
      bound on that of the image at noise level t_min; nats and bits per
      dimension. See `ntm.likelihood.bounds`. Not checked for NaN or infinity;
      `ntm likelihood` and `ntm evaluate` end with an error.

    Raises:
      ValueError: images or labels of wrong shape, type or range; NaN.
    """
    images = checks.images(self.config, images)
    num_steps = self._num_steps(num_steps)
    labels = self._score_labels(labels, len(images))
    return self._chunked(self._likelihood, rng, images, labels, num_steps)

  def log_weights(self, rng: PRNGKey, images, labels=None, num_steps: int | None = None,
                  draws: int = 1, level_spacing: float | None = None,
                  progress: batching.Progress | None = None) -> np.ndarray:
    """Importance weights of images, whose log-mean bounds their log-likelihood.

    Args:
      rng: a key, of dequantisation and forward noise.
      images: as `log_prob`.
      labels: as `log_prob`.
      num_steps: T, one the model was trained for; None is the first of those.
      draws: J, weights an image.
      level_spacing: distance of the data's levels in [-1, 1] (1/8 for the
        digits, 1/127.5 for 8-bit images): the weights are of the probability of
        these levels. None: of the density at t_min of the images sent there.
      progress: called with (draws done, draws) after every draw.

    Returns:
      log weights in nats, float32 [J, B]; see `ntm.likelihood.bounds`.

    Raises:
      ValueError: as `log_prob`; draws below 1; a spacing that is not positive.
    """
    images = checks.images(self.config, images)
    num_steps = self._num_steps(num_steps)
    labels = self._score_labels(labels, len(images))
    if draws < 1:
      raise ValueError(f"draws is {draws}; expected at least 1.")
    if level_spacing is not None and not level_spacing > 0:
      raise ValueError(f"level_spacing is {level_spacing}; expected a positive distance, or None.")
    weights = []
    for key in jax.random.split(rng, draws):
      # The density is that of one noisy state an image, the same for all draws.
      keys = jax.random.split(key) if level_spacing else (jax.random.fold_in(rng, draws), key)
      weights.append(self._chunked(self._weigh, tuple(keys), images, labels, num_steps,
                                   level_spacing))
      if progress:
        progress(len(weights), draws)
    return np.stack(weights)

  def residuals(self, rng: PRNGKey, images, labels=None,
                num_steps: int | None = None) -> np.ndarray:
    """z = (u_{k-1} - mu_P) / sigma_P of forward trajectories of images.

    Standard normal if the predictor is calibrated. Arguments and errors as `log_prob`.

    Returns:
      float32 [S, B, N C], k = 1 first.
    """
    images = checks.images(self.config, images)
    num_steps = self._num_steps(num_steps)
    labels = self._score_labels(labels, len(images))
    z_SDB = self._chunked(self._standardise, rng, images, labels, num_steps)
    return np.moveaxis(z_SDB, 1, 2)

  def _draw(self, rng, images, label_B, num_steps):
    x0_BNC = patchify(images, self.config.model.patch_shape)
    t_min_B = jnp.full((x0_BNC.shape[0],), self.config.process.t_min)
    return draw_trajectory(rng, x0_BNC, label_B, self.config.process, t_min_B, num_steps)

  def _draw_and_score(self, rng, params, images, label_B, num_steps):
    return likelihood_lib.likelihood(self._model, params,
                                     self._draw(rng, images, label_B, num_steps))

  def _draw_and_standardise(self, rng, params, images, label_B, num_steps):
    result = self._model.apply({"params": params}, self._draw(rng, images, label_B, num_steps),
                               method="log_prob")
    return jnp.moveaxis(result.z_SBNC.reshape(num_steps, len(images), -1), 1, 2)

  def _draw_and_weigh(self, rng, params, images, label_B, num_steps, level_spacing):
    config, (rng_state, rng_chain) = self.config, rng
    x0_BNC, t_min = patchify(images, config.model.patch_shape), config.process.t_min
    times_K = schedule.padded_times(config.process.schedule, num_steps, num_steps, t_min,
                                    config.model.num_tokens)
    times_KB = jnp.broadcast_to(times_K[:, None], (num_steps + 1, len(images)))
    num_steps_B = jnp.full((len(images),), num_steps) if self._model.multi_step else None
    if level_spacing is None:
      x_BNC, extra_B = sample_trajectory(rng_state, x0_BNC, times_KB[:1])[0], 0.0
    else:
      x_BNC, extra_B = likelihood_lib.dequantise(rng_state, x0_BNC, t_min, level_spacing)
    return extra_B + likelihood_lib.log_weight(
        rng_chain, self._model, params, x_BNC, times_KB, label_B, num_steps_B)

  def _chunked(self, function, rng, images, labels, *static):
    """`function` of all images, a fixed number at a time; results end in the batch."""
    size = min(len(images), batching.SIZE)
    parts = []
    for i, start in enumerate(range(0, len(images), size)):
      chunk = batching.fill(images[start:start + size], size)
      part = None if labels is None else batching.fill(labels[start:start + size], size)
      keys = jax.tree.map(lambda key, i=i: jax.random.fold_in(key, i), rng)
      parts.append(function(keys, self.params, chunk, part, *static))
    return jax.tree.map(lambda *a: np.concatenate(a, axis=-1)[..., :len(images)], *parts)

  def _score_labels(self, labels, count):
    """Labels to score under: those given, or the null class."""
    if self.config.model.num_classes and labels is None:
      return np.full(count, self.config.model.num_classes, np.int32)
    labels = checks.labels(self.config.model, labels, count if labels is None else None)
    if labels is not None and len(labels) != count:
      raise ValueError(f"there are {len(labels)} labels for {count} images; pass one for each.")
    return labels

  def _num_steps(self, num_steps):
    known = self.config.process.num_steps
    if num_steps is not None and num_steps not in known:
      raise ValueError(f"num_steps is {num_steps!r}, but the model was trained for "
                       f"{' or '.join(map(str, known))} steps.")
    return known[0] if num_steps is None else num_steps
