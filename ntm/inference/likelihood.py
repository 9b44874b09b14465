"""Likelihood of images under a trained model.

The model's density is over trajectories. For x_0 we draw x_{t_0}, ..., x_T from
the forward process q and report, all in nats over all dimensions:

  trajectory  log p(x_{t_0}, ..., x_T | y), and its steps log p(x_{k-1} | x_k, y);
  bound       log p(x_{t_0}, ..., x_T | y) - log q(x_{t_1}, ..., x_T | x_{t_0}),
              whose mean is a lower bound on log p(x_{t_0} | y).

`bits_per_dim` is -bound / (N C log 2): of the density of the state at level t_0
in the model's own scale [-1, 1], without dequantisation. Images of 256 levels
have 127.5 levels a unit: add log2(127.5) for bits of those.
"""

import math

import flax.struct
import jax.numpy as jnp

from ntm.models.ntm import NTM, standard_normal_log_prob
from ntm.process.kernel import forward_kernel
from ntm.typing import Array, Trajectory


@flax.struct.dataclass
class Likelihood:
  """Per example, in nats unless said otherwise.

  Attributes:
    log_prob_B: log p of the whole trajectory, prior included.
    step_SB: log p(x_{k-1} | x_k, y), k = 1 first.
    bound_B: one-sample lower bound on log p(x_{t_0} | y).
    nats_per_dim_B: -mean_k step / (N C), the training loss.
    bits_per_dim_B: -bound / (N C log 2).
  """

  log_prob_B: Array
  step_SB: Array
  bound_B: Array
  nats_per_dim_B: Array
  bits_per_dim_B: Array


def likelihood(model: NTM, params, trajectory: Trajectory) -> Likelihood:
  """Evaluates trajectories drawn from the forward process.

  Args:
    model: the density.
    params: its parameters.
    trajectory: states ending at noise; levels strictly ascending.

  Returns:
    The figures above.
  """
  result = model.apply({"params": params}, trajectory, method="log_prob")
  x_KBNC, times_KB = trajectory.x_KBNC, trajectory.times_KB
  dimensions = x_KBNC.shape[-2] * x_KBNC.shape[-1]
  alpha_SB, sigma_SB = forward_kernel(times_KB[:-1], times_KB[1:])
  noise_SBNC = ((x_KBNC[1:] - alpha_SB[..., None, None] * x_KBNC[:-1])
                / sigma_SB[..., None, None])
  forward_B = (standard_normal_log_prob(noise_SBNC) - dimensions * jnp.log(sigma_SB)).sum(axis=0)
  bound_B = result.total_B - forward_B
  return Likelihood(
      log_prob_B=result.total_B, step_SB=result.step_SB, bound_B=bound_B,
      nats_per_dim_B=-result.step_SB.mean(axis=0) / dimensions,
      bits_per_dim_B=-bound_B / (dimensions * math.log(2)))
