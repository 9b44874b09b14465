"""A restored NTM: samples and scores images."""

import logging

import jax
import jax.numpy as jnp
import numpy as np

from ntm.api import batching, checks
from ntm.api.frozen import FrozenNetworks
from ntm.api.placement import Placement
from ntm.config import Config
from ntm.likelihood import bounds
from ntm.losses.inputs import Frozen
from ntm.models import build
from ntm.process.trajectory import draw_trajectory
from ntm.sampling import generate
from ntm.typing import PRNGKey

_LOG = logging.getLogger("ntm")


class Model:
  """A Normalizing Trajectory Model ready for use; immutable.

  Attributes:
    config: of the run.
    params: averaged parameters.
    step: updates behind them.
    denoiser_params: of the learned denoiser; None if there is none.
  """

  def __init__(self, config: Config, params, step: int, denoiser=None,
               frozen: Frozen | None = None, placement: Placement | None = None):
    self.config, self.params, self.step = config, params, step
    self._denoiser, self.denoiser_params = denoiser or (None, None)
    self._model, self._patches = build.ntm(config), build.patches(config.model)
    self._generators, self._networks = {}, FrozenNetworks(config, frozen)
    self._placement = placement or Placement()
    self._likelihood = jax.jit(self._draw_and_score, static_argnums=4)
    self._standardise = jax.jit(self._draw_and_standardise, static_argnums=4)
    self._trace = jax.jit(self._draw_and_trace, static_argnums=4)
    self._weigh = jax.jit(self._draw_and_weigh, static_argnums=(4, 5))

  def sample(self, rng: PRNGKey, labels=None, num_steps: int | None = None, guidance: float = 0.0,
             refine: str | None = "score", num_samples: int | None = None,
             clip_percentile: float = 100.0, prompts=None, null_text=None,
             progress: batching.Progress | None = None, decode: bool = True,
             offset: int = 0) -> np.ndarray:
    """Generates images.

    Args:
      rng: a key.
      labels: class index of every image, or its text features ``[B, M, W]``;
        None for an unconditional model.
      num_steps: T, one the model was trained for; None is the first of those.
      guidance: classifier-free guidance scale, 0 for none.
      refine: None or 'none' for the sampled state at level t_min, 'score' for
        trajectory score refinement, 'denoiser' for the learned one.
      num_samples: number of images of an unconditional model; None if there are labels.
      clip_percentile: clips the score's entries; 100 does not.
      prompts: text of every image, for a model with a tokenizer.
      null_text: features ``[M, W]`` of the empty text, for guidance by text.
      progress: called with (images done, images in all) after every 256 images.
      decode: of a model with an autoencoder, gives pixels in [-1, 1]; False gives latents.
      offset: number of images of the same key that come before these, a multiple of the 256 that
        are drawn at a time: many images can be drawn in several calls, with the noise of one.

    Returns:
      float32 ``[B, *image_shape]`` in the data's scale, nominally [-1, 1]. Not checked
      for NaN, which extreme guidance can give; `ntm sample` refuses to write them.

    Raises:
      ValueError: an argument out of range, with what was expected.
    """
    labels = checks.prompts_or_labels(self.config, prompts, labels)
    cond, count = checks.condition(self.config, labels, num_samples)
    num_steps = checks.num_steps(self.config, num_steps)
    null_cond = checks.guidance(self.config, guidance, null_text)
    checks.warn_of_untrained_guidance(self.config, guidance)
    refine = checks.refinement(refine, self._denoiser is not None)
    if not 0 < clip_percentile <= 100:
      raise ValueError(f"clip_percentile is {clip_percentile}; expected above 0, at most 100.")
    make = (refine, clip_percentile)
    if make not in self._generators:
      self._generators[make] = generate.make_generator(
          self._model, self._patches, self.config.process, *make, self._denoiser)
    guidance, placement = jnp.float32(guidance) if guidance else None, self._placement

    def generate_images(rng, cond, size):
      """Images, their fallbacks logged."""
      with placement.activations():
        cond, null = (placement.put_batch(self._networks.condition(c, size))
                      for c in (cond, null_cond))
        out = self._generators[make](rng, self.params, cond, size, num_steps, guidance,
                                     self.denoiser_params, null)
        images = self._networks.decode(out.images) if decode else out.images
      if fallbacks := int(placement.to_host(out.fallbacks)):
        _LOG.info("%d inverses did not converge and were redone by scan", fallbacks)
      return placement.to_host(images)

    return batching.draw(generate_images, rng, cond, count, progress,
                         placement.batch_size(offset + count), offset)

  def encode(self, images) -> np.ndarray:
    """Images as the model reads them, float32: of pixels, the mean of their latents.

    The other methods do so themselves; those that see the same images often can be given these.
    Arguments and errors as `log_prob`.
    """
    return self._networks.encode(images)

  def log_prob(self, rng: PRNGKey, images, labels=None,
               num_steps: int | None = None) -> bounds.Likelihood:
    """Trajectory log-likelihood of images, one forward trajectory each.

    Args:
      rng: a key, of the forward noise.
      images: ``[B, *image_shape]``, float in [-1, 1] or uint8 in [0, 255];
        latents are float of any range. Of a model with an autoencoder, pixels or latents: of
        pixels the likelihood is that of the mean of their latents, as encoded.
      labels: class index of every image; None scores under the null class or the empty
        text, or an unconditional model. Of a model of texts, prompts or text features
        ``[B, M, W]``.
      num_steps: T, one the model was trained for; None is the first of those.

    Returns:
      Per example, in nats: the trajectory's log-likelihood, its steps, a lower
      bound on that of the image at noise level t_min; nats and bits per
      dimension. See `ntm.likelihood.bounds`. Not checked for NaN or infinity;
      `ntm likelihood` and `ntm evaluate` end with an error.

    Raises:
      ValueError: images or labels of wrong shape, type or range; NaN.
    """
    images = self.encode(images)
    num_steps = checks.num_steps(self.config, num_steps)
    cond = self._scored_condition(labels, len(images))
    return self._chunked(self._likelihood, rng, images, cond, num_steps)

  def log_weights(self, rng: PRNGKey, images, labels=None, num_steps: int | None = None,
                  draws: int = 1, level_spacing: float | None = None,
                  progress: batching.Progress | None = None) -> np.ndarray:
    """Importance weights of images, whose log-mean bounds their log-likelihood.

    Args:
      rng: a key, of dequantisation and forward noise.
      images: as `log_prob`.
      labels: as `log_prob`.
      num_steps: T, one the model was trained for; None is the first of those.
      draws: J, weights per image.
      level_spacing: distance of the data's levels in [-1, 1] (1/8 for the
        digits, 1/127.5 for 8-bit images): the weights are of the probability of
        these levels, which latents do not have. None: of the density at t_min of
        the images sent there.
      progress: called with (draws done, draws) after every draw.

    Returns:
      log weights in nats, float32 [J, B]; see `ntm.likelihood.bounds`.

    Raises:
      ValueError: as `log_prob`; draws below 1; a spacing that is not positive.
    """
    images = self.encode(images)
    num_steps = checks.num_steps(self.config, num_steps)
    cond = self._scored_condition(labels, len(images))
    if draws < 1:
      raise ValueError(f"draws is {draws}; expected at least 1.")
    if level_spacing is not None and not level_spacing > 0:
      raise ValueError(f"level_spacing is {level_spacing}; expected a positive distance, or None.")
    if level_spacing is not None and self.config.autoencoder.path:
      raise ValueError(f"level_spacing is {level_spacing}, but the likelihood is that of latents, "
                       "which have no levels; pass None.")
    weights = []
    for key in jax.random.split(rng, draws):
      # The density is that of one noisy state per image, the same for all draws.
      keys = jax.random.split(key) if level_spacing else (jax.random.fold_in(rng, draws), key)
      weights.append(self._chunked(self._weigh, tuple(keys), images, cond, num_steps,
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
    images = self.encode(images)
    num_steps = checks.num_steps(self.config, num_steps)
    cond = self._scored_condition(labels, len(images))
    z_SDB = self._chunked(self._standardise, rng, images, cond, num_steps)
    return np.moveaxis(z_SDB, 1, 2)

  def trajectories(self, rng: PRNGKey, images, labels=None, num_steps: int | None = None
                   ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Forward trajectories of images and the log-likelihood of their steps, in nats.

    Arguments and errors as `log_prob`.

    Returns:
      (states [K, B, D], images flattened, cleanest first; their levels [K, B];
      log p(x_{k-1} | x_k, y) [S, B], k = 1 first).
    """
    images = self.encode(images)
    num_steps = checks.num_steps(self.config, num_steps)
    cond = self._scored_condition(labels, len(images))
    x_KDB, times_KB, step_SB = self._chunked(self._trace, rng, images, cond, num_steps)
    return np.moveaxis(x_KDB, 1, 2), times_KB, step_SB

  def _draw(self, rng, images, cond, num_steps):
    x0_BNC, process = self._patches.to_tokens(images), self.config.process
    t_min_B = jnp.full((len(images),), process.t_min)
    return draw_trajectory(rng, x0_BNC, cond, process, t_min_B, num_steps)

  def _draw_and_score(self, rng, params, images, cond, num_steps):
    return bounds.likelihood(self._model, params, self._draw(rng, images, cond, num_steps))

  def _draw_and_trace(self, rng, params, images, cond, num_steps):
    drawn = self._draw(rng, images, cond, num_steps)
    states = jax.vmap(self._patches.to_images)(drawn.x_KBNC)
    return (jnp.moveaxis(states.reshape(*states.shape[:2], -1), 1, 2), drawn.times_KB,
            bounds.likelihood(self._model, params, drawn).step_SB)

  def _draw_and_standardise(self, rng, params, images, cond, num_steps):
    result = self._model.apply({"params": params}, self._draw(rng, images, cond, num_steps),
                               method="log_prob")
    return jnp.moveaxis(result.z_SBNC.reshape(num_steps, len(images), -1), 1, 2)

  def _draw_and_weigh(self, rng, params, images, cond, num_steps, level_spacing):
    return bounds.draw_log_weight(rng, self._model, params, self._patches.to_tokens(images),
                                  self._model.condition(cond, num_steps, len(images)),
                                  self.config.process, num_steps, level_spacing)

  def _chunked(self, function, rng, images, cond, *static):
    """`function` of all images, a fixed number at a time; results end in the batch."""
    size, parts = min(len(images), batching.SIZE), []
    for i, start in enumerate(range(0, len(images), size)):
      chunk, part = batching.fill(
          jax.tree.map(lambda rows, start=start: rows[start:start + size], (images, cond)), size)
      keys = jax.tree.map(lambda key, i=i: jax.random.fold_in(key, i), rng)
      with self._placement.activations():
        placed = self._placement.put_batch((chunk, self._networks.condition(part, size)))
        parts.append(self._placement.to_host(function(keys, self.params, *placed, *static)))
    return jax.tree.map(lambda *a: np.concatenate(a, axis=-1)[..., :len(images)], *parts)

  def _scored_condition(self, labels, count):
    """What to score under: the classes or texts given, or the null class or empty text."""
    if labels is None and (self.config.model.num_classes or self.config.text.tokenizer):
      return batching.fill(checks.null_condition(self.config), count)
    cond, given = checks.condition(self.config, labels, count if labels is None else None)
    if given != count:
      raise ValueError(f"there are {given} labels for {count} images; pass one for each.")
    return cond
