"""Changing images by gradients: a user's objective plus the model's likelihood.

  maximise  objective(x) + weight * E log w_k(x_{t_k}),  x_{t_k} = (1 - t_k) x + t_k eps,

over clean images x, log w_k being the one-draw bound on log p(x_{t_k}) of
`bounds.log_weight` for the levels from t_k on, with new noise at every step.
k goes from the noisiest level to the cleanest, `steps` at each: at t_0
alone the likelihood is so rugged that ascent stays where it starts. With a
temperature the steps are Langevin's, x <- x + (eta / 2) grad +
sqrt(eta temperature) noise, and at the last level sample from the product
instead of climbing to its top.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from ntm.likelihood import bounds
from ntm.models.ntm import NTM
from ntm.typing import Array, Condition, PRNGKey


def edit(rng: PRNGKey, model: NTM, params, x_BNC: Array, objective: Callable[[Array], Array],
         times_K: Array, cond: Condition, *, steps: int = 200, step_size: float = 0.03,
         weight: float = 1.0, temperature: float = 0.0) -> Array:
  """Edits clean images.

  Args:
    rng: a key.
    model: the density.
    params: its parameters.
    x_BNC: where to start.
    objective: x_BNC → [B], differentiable, in nats to be weighed against log p.
    times_K: ascending levels of the whole trajectory, ending at 1.
    cond: class (the null class if unknown) or text.
    steps: gradient steps at every level.
    step_size: of Adam, decayed to zero by a cosine at every level; with a
      temperature eta.
    weight: of the likelihood; 0 leaves the objective alone.
    temperature: 0 climbs; 1 samples (for a small eta and many steps).

  Returns:
    x_BNC after the last step.

  Raises:
    ValueError: steps below 1, a step size that is not positive, a negative
      weight or temperature.
  """
  if steps < 1 or not step_size > 0 or weight < 0 or temperature < 0:
    raise ValueError(f"steps {steps}, step_size {step_size}, weight {weight} and temperature "
                     f"{temperature}; expected at least 1, above 0, and twice 0 or more.")
  num_steps, batch_size = times_K.shape[0] - 1, x_BNC.shape[0]
  times_KB = jnp.broadcast_to(times_K[:, None], (num_steps + 1, batch_size))
  cond = model.condition(cond, num_steps, batch_size)
  adam = optax.adam(optax.cosine_decay_schedule(step_size, steps))

  def gain(x_BNC, rng, level):
    total = objective(x_BNC).sum()
    if weight:
      rng_noise, rng_chain = jax.random.split(rng)
      t = times_K[level]
      noisy_BNC = (1 - t) * x_BNC + t * jax.random.normal(rng_noise, x_BNC.shape, x_BNC.dtype)
      total += weight * bounds.log_weight(
          rng_chain, model, params, noisy_BNC, times_KB[level:], cond).sum()
    return total

  def climb(x_BNC, rng, level):
    """All steps at one level."""
    def step(carry, rng):
      x_BNC, state = carry
      rng_gain, rng_noise = jax.random.split(rng)
      g_BNC = jax.grad(gain)(x_BNC, rng_gain, level)
      if temperature:
        noise = jax.random.normal(rng_noise, x_BNC.shape, x_BNC.dtype)
        x_BNC += 0.5 * step_size * g_BNC + (step_size * temperature) ** 0.5 * noise
      else:
        updates, state = adam.update(-g_BNC, state)
        x_BNC += updates
      return (x_BNC, state), None

    return jax.lax.scan(step, (x_BNC, adam.init(x_BNC)), jax.random.split(rng, steps))[0][0]

  climb = jax.jit(climb, static_argnums=2)
  for level in reversed(range(num_steps)):
    x_BNC = climb(x_BNC, jax.random.fold_in(rng, level), level)
  return x_BNC


def inpainting_objective(known_BNC: Array, mask_BNC: Array, scale: float) -> Callable:
  """log N(known; x, scale^2) of the entries whose mask is 1, without its constant.

  Args:
    known_BNC: clean data; ignored where the mask is 0.
    mask_BNC: 1 = known.
    scale: how exactly the known entries are kept.
  """
  def objective(x_BNC):
    error = (x_BNC - known_BNC) * mask_BNC / scale
    return -0.5 * (error * error).sum(axis=(1, 2))

  return objective
