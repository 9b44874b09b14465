"""Changing images by gradients: a user's objective plus the model's likelihood.

  maximise  objective(x) + weight * E log w(x)

over the state x at t_0, log w being the one-draw bound on log p(x_{t_0}) of
`likelihood.log_weight`, with a new forward chain at every step: the gradient is
noisy and unbiased for that of the bound. With a temperature the steps are
Langevin's, x <- x + (eta / 2) grad + sqrt(eta temperature) noise, and sample
from the product instead of climbing to its top.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from ntm.inference import likelihood
from ntm.models.ntm import NTM
from ntm.typing import Array, PRNGKey


def edit(rng: PRNGKey, model: NTM, params, x_BNC: Array, objective: Callable[[Array], Array],
         times_K: Array, label_B: Array | None, *, steps: int = 200, step_size: float = 0.03,
         weight: float = 1.0, temperature: float = 0.0) -> Array:
  """Edits states at level t_0.

  Args:
    rng: a key.
    model: the density.
    params: its parameters.
    x_BNC: where to start.
    objective: x_BNC → [B], differentiable, in nats to be weighed against log p.
    times_K: ascending levels, ending at 1.
    label_B: class indices (the null class if unknown), or None.
    steps: gradient steps.
    step_size: of Adam, decayed to zero by a cosine; with a temperature eta.
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
  num_steps_B = jnp.full((batch_size,), num_steps) if model.multi_step else None

  def gain(x_BNC, rng):
    total = objective(x_BNC).sum()
    if weight:
      total += weight * likelihood.log_weight(
          rng, model, params, x_BNC, times_KB, label_B, num_steps_B).sum()
    return total

  adam = optax.adam(optax.cosine_decay_schedule(step_size, steps))

  def step(carry, rng):
    x_BNC, state = carry
    rng_chain, rng_noise = jax.random.split(rng)
    g_BNC = jax.grad(gain)(x_BNC, rng_chain)
    if temperature:
      noise = jax.random.normal(rng_noise, x_BNC.shape, x_BNC.dtype)
      x_BNC += 0.5 * step_size * g_BNC + (step_size * temperature) ** 0.5 * noise
    else:
      updates, state = adam.update(-g_BNC, state)
      x_BNC += updates
    return (x_BNC, state), None

  run = jax.jit(lambda x: jax.lax.scan(step, (x, adam.init(x)), jax.random.split(rng, steps)))
  return run(x_BNC)[0][0]


def inpainting_objective(known_BNC: Array, mask_BNC: Array, t_min: float) -> Callable:
  """log N of the known entries: where the mask is 1, x_{t_0} is known_BNC up to its noise.

  Args:
    known_BNC: clean data; ignored where the mask is 0.
    mask_BNC: 1 = known.
    t_min: the level t_0.
  """
  def objective(x_BNC):
    error = (x_BNC - (1 - t_min) * known_BNC) * mask_BNC / t_min
    return -0.5 * (error * error).sum(axis=(1, 2))

  return objective
