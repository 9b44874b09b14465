"""Draws trajectories from a model [Algorithm 2].

u_T ~ N(0, I); for k = T .. 1: (mu, sigma) = f_P(u_k, t_k, t_{k-1}, y) and
u_{k-1} = mu + sigma z. The chain never leaves u-space; states are taken back to
data space, x_k = f_T^-1(u_k), only when asked for.
"""

import jax
import jax.numpy as jnp

from ntm.inference import guidance as guidance_lib
from ntm.models.ntm import NTM
from ntm.typing import Array, PRNGKey


def sample_latents(rng: PRNGKey, model: NTM, params, times_K: Array, batch_size: int,
                   label_B: Array | None = None, guidance=None) -> Array:
  """The u-space states of sampled trajectories, as one scan over the steps.

  Args:
    rng: a key.
    model: the density.
    params: its parameters.
    times_K: levels, ascending, ending at 1.
    batch_size: trajectories.
    label_B: class indices; None for an unconditional model.
    guidance: scale w, or None to leave the unconditional branch out.

  Returns:
    u_KBNC, cleanest state first; u_T is the noise.
  """
  num_steps = times_K.shape[0] - 1
  num_steps_B = jnp.full((batch_size,), num_steps) if model.multi_step else None
  rng_noise, rng_steps = jax.random.split(rng)
  config = model.config
  shape = (batch_size, config.num_tokens, config.num_channels)
  noise_BNC = jax.random.normal(rng_noise, shape, times_K.dtype)
  u_KBNC = jnp.zeros((num_steps + 1,) + shape, times_K.dtype).at[-1].set(noise_BNC)
  times_KB = jnp.broadcast_to(times_K[:, None], (num_steps + 1, batch_size))

  def predict(u_KBNC, k, label_B):
    """Mean and log-scale of u_{k-1}. Levels below k are not read."""
    if config.predictor.context == "history":
      out = model.apply({"params": params}, u_KBNC[1:], times_KB[1:], times_KB[:-1], label_B,
                        num_steps_B, method="predict")
      return tuple(jax.lax.dynamic_index_in_dim(a, k - 1, keepdims=False) for a in out)
    at = lambda a, i: jax.lax.dynamic_index_in_dim(a, i)
    mean, log_scale = model.apply({"params": params}, at(u_KBNC, k), at(times_KB, k),
                                  at(times_KB, k - 1), label_B, num_steps_B, method="predict")
    return mean[0], log_scale[0]

  def step(u_KBNC, inputs):
    k, rng = inputs
    mean_BNC, log_scale_BNC = predict(u_KBNC, k, label_B)
    if guidance is not None:
      null_B = jnp.full((batch_size,), config.num_classes)
      mean_BNC, log_scale_BNC = guidance_lib.guide(
          (mean_BNC, log_scale_BNC), predict(u_KBNC, k, null_B), guidance)
    z_BNC = jax.random.normal(rng, shape, mean_BNC.dtype)
    u_BNC = mean_BNC + jnp.exp(log_scale_BNC) * z_BNC
    return jax.lax.dynamic_update_index_in_dim(u_KBNC, u_BNC, k - 1, axis=0), None

  ks = jnp.arange(num_steps, 0, -1)
  u_KBNC, _ = jax.lax.scan(step, u_KBNC, (ks, jax.random.split(rng_steps, num_steps)))
  return u_KBNC


def to_data(model: NTM, params, u_KBNC: Array, times_K: Array, label_B: Array | None,
            num_steps: int) -> Array:
  """x_k = f_T^-1(u_k) of the cleanest states, all levels in parallel.

  Args:
    model: the density.
    params: its parameters.
    u_KBNC: the cleanest states of a trajectory in u-space, any number of them.
    times_K: levels of the whole trajectory, at least as many.
    label_B: class indices, or None.
    num_steps: T.

  Returns:
    x_KBNC, as many states; one at t = 1 is returned as it is.
  """
  times_KB = jnp.broadcast_to(times_K[:u_KBNC.shape[0], None], u_KBNC.shape[:2])
  num_steps_B = jnp.full(u_KBNC.shape[1:2], num_steps) if model.multi_step else None
  x_KBNC, _ = model.apply({"params": params}, u_KBNC, times_KB, label_B, num_steps_B,
                          method="untransport")
  return x_KBNC
