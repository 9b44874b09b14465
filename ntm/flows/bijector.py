"""The contract of every bijector, and the ones without parameters.

A bijector is a linen module with two verbs, data → latent being forward:

  forward_and_log_det(x_BNC, cond) -> (u_BNC, log_det_B)
  inverse_and_log_det(u_BNC, cond) -> (x_BNC, log_det_B)

log_det is log |det dOutput/dInput| of the direction computed, in nats, summed
over tokens and channels, float32 or better; hence the two log-dets of a round
trip add up to zero. `cond` is a `typing.Condition`.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from ntm.typing import Array, Condition


class Identity(nn.Module):
  """u = x, log det = 0."""

  def forward_and_log_det(self, x_BNC: Array, cond: Condition) -> tuple[Array, Array]:
    """Returns x and zeros [B]."""
    del cond
    return x_BNC, jnp.zeros(x_BNC.shape[0], x_BNC.dtype)

  def inverse_and_log_det(self, u_BNC: Array, cond: Condition) -> tuple[Array, Array]:
    """Returns u and zeros [B]."""
    return self.forward_and_log_det(u_BNC, cond)


class Flip(nn.Module):
  """Reverses the order of the tokens: u_n = x_{N-1-n}, log det = 0."""

  def forward_and_log_det(self, x_BNC: Array, cond: Condition) -> tuple[Array, Array]:
    """Returns the reversed tokens and zeros [B]."""
    del cond
    return x_BNC[:, ::-1], jnp.zeros(x_BNC.shape[0], x_BNC.dtype)

  def inverse_and_log_det(self, u_BNC: Array, cond: Condition) -> tuple[Array, Array]:
    """Its own inverse."""
    return self.forward_and_log_det(u_BNC, cond)


class Chain(nn.Module):
  """u = f_n(...f_2(f_1(x))); the log-dets add.

  Attributes:
    bijectors: f_1 first.
  """

  bijectors: Sequence[nn.Module]

  def forward_and_log_det(self, x_BNC: Array, cond: Condition) -> tuple[Array, Array]:
    """Applies the bijectors in order."""
    log_det_B = jnp.zeros(x_BNC.shape[0], x_BNC.dtype)
    for bijector in self.bijectors:
      x_BNC, term_B = bijector.forward_and_log_det(x_BNC, cond)
      log_det_B += term_B
    return x_BNC, log_det_B

  def inverse_and_log_det(self, u_BNC: Array, cond: Condition) -> tuple[Array, Array]:
    """Undoes the bijectors, last first."""
    log_det_B = jnp.zeros(u_BNC.shape[0], u_BNC.dtype)
    for bijector in reversed(self.bijectors):
      u_BNC, term_B = bijector.inverse_and_log_det(u_BNC, cond)
      log_det_B += term_B
    return u_BNC, log_det_B
