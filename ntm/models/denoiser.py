"""The learned denoiser g: from the last u-space state to clean data [3.9].

A light non-causal Transformer, x = g(u_{t_0}, y, t_0), fitted by mean squared
error to the trajectory score refinement of its teacher. Sampling then needs
neither the transporter's inverse nor a gradient.

Under a conditional transporter u_{t_0} means something only together with the
features that it was made with, and the denoiser reads both; the inverse of the
last step, at least, is not needed.
"""

import flax.linen as nn
import jax.numpy as jnp

from ntm.typing import Array, Condition


class Denoiser(nn.Module):
  """Clean tokens from those in u-space.

  Attributes:
    network: (u_BGNC, cond) → {"readout": x_BGNC}, as `dit.DiT`.
  """

  network: nn.Module

  def __call__(self, u_BNC: Array, cond: Condition) -> Array:
    """x_BNC, an estimate of clean data. Class or text, T and features as the teacher's."""
    if cond.features_BNF is not None:
      u_BNC = jnp.concatenate([u_BNC, cond.features_BNF], axis=-1)
    return self.network(u_BNC[:, None], cond.at(cond.time_B[:, None]))["readout"][:, 0]
