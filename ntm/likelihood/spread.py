"""What the model does not know: spread of repeated samples from one noisy state."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from ntm.models import build
from ntm.models.ntm import NTM
from ntm.process import schedule
from ntm.process.trajectory import sample_trajectory
from ntm.sampling import sampler
from ntm.typing import Array, Condition, PRNGKey


def predictive_spread(rng: PRNGKey, model: NTM, params, x_BNC: Array, times_K: Array, level: int,
                      cond: Condition, draws: int) -> tuple[Array, Array]:
  """Mean and standard deviation of clean images that a noisy state may have come from.

  Samples x_{t_0} given x_{t_k} `draws` times and divides by 1 - t_0; the spread
  includes the noise of t_0 itself, t_0 / (1 - t_0).

  Args:
    rng: a key.
    model: the density, with a markov predictor.
    params: its parameters.
    x_BNC: the states at level times_K[level].
    times_K: ascending levels of the whole trajectory.
    level: k, 1 .. T.
    cond: class or text.
    draws: samples per state, at least 2.

  Returns:
    (mean_BNC, std_BNC) over the draws.

  Raises:
    ValueError: a history predictor, which would need the noisier states too; a
      level or a number of draws out of range.
  """
  num_steps, batch_size = times_K.shape[0] - 1, x_BNC.shape[0]
  if model.predictor.context != "markov":
    raise ValueError("the history predictor needs all noisier states; use a markov model.")
  if not 1 <= level <= num_steps:
    raise ValueError(f"level is {level}; expected 1 to {num_steps}.")
  if draws < 2:
    raise ValueError(f"draws is {draws}; a spread needs at least 2.")
  times_KB = jnp.full((1, batch_size), times_K[level])
  cond = model.condition(cond, num_steps, batch_size)
  start_KBNC = model.apply({"params": params}, x_BNC[None], cond.at(times_KB),
                           method="predictor_input")

  def draw(rng):
    x_KBNC, _ = sampler.sample_trajectory(rng, model, params, times_K[:level + 1], x_BNC.shape,
                                          cond, start_BNC=start_KBNC[0])
    return x_KBNC[0] / (1 - times_K[0])

  samples = jax.lax.map(draw, jax.random.split(rng, draws))
  return samples.mean(axis=0), samples.std(axis=0, ddof=1)


def spread_by_level(model, rng: PRNGKey, images, labels, num_steps: int | None, draws: int,
                    progress: Callable[[int, int], None] | None = None) -> np.ndarray:
  """Noisy states of images at every level, and the spread of the clean images they come from.

  Args:
    model: a restored NTM (`ntm.api.Model`) with a markov predictor.
    rng: a key.
    images: [B, *image_shape] in [-1, 1].
    labels: class indices, or None.
    num_steps: T; None for the first that the model was trained for.
    draws: samples per state, at least 2.
    progress: called with (levels done, T) after every level.

  Returns:
    [3 T, B, *image_shape], three rows per level, the cleanest level first: the state,
    the mean of the samples, and 2 std - 1, which is -1 where they agree.
  """
  config, net, patches = model.config, build.ntm(model.config), build.patches(model.config.model)
  num_steps = num_steps or config.process.num_steps[0]
  times_K = schedule.padded_times(config.process.schedule, num_steps, num_steps,
                                  config.process.t_min, config.model.num_tokens)
  rng_chain, *rng_levels = jax.random.split(rng, num_steps + 1)
  x_KBNC = sample_trajectory(rng_chain, patches.to_tokens(images), times_K)
  spread = jax.jit(predictive_spread, static_argnums=(1, 5, 7))
  rows = []
  for level in range(1, num_steps + 1):
    mean_BNC, std_BNC = jax.device_get(spread(rng_levels[level - 1], net, model.params,
                                              x_KBNC[level], times_K, level,
                                              Condition(label_B=labels), draws))
    rows += [np.asarray(patches.to_images(a))
             for a in (x_KBNC[level], mean_BNC, 2 * std_BNC - 1)]
    if progress:
      progress(level, num_steps)
  return np.stack(rows)
