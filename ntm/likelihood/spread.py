"""What the model does not know: spread of repeated samples from one noisy state."""

import jax
import jax.numpy as jnp

from ntm.models.ntm import NTM
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
  u_KBNC, _ = model.apply({"params": params}, x_BNC[None], cond.at(times_KB), method="transport")

  def draw(rng):
    u_KBNC_ = sampler.sample_u_trajectory(rng, model, params, times_K[:level + 1], x_BNC.shape,
                                          cond, start_BNC=u_KBNC[0])
    x_KBNC, _ = sampler.to_data(model, params, u_KBNC_[:1], times_K, cond)
    return x_KBNC[0] / (1 - times_K[0])

  samples = jax.lax.map(draw, jax.random.split(rng, draws))
  return samples.mean(axis=0), samples.std(axis=0, ddof=1)
