"""The learned denoiser g: from the last u-space state to clean data [3.9].

A light non-causal Transformer, x = g(u_{t_0}, y, t_0), fitted by mean squared
error to the trajectory score refinement of its teacher. Sampling then needs
neither the transporter's inverse nor a gradient.
"""

import flax.linen as nn

from ntm.typing import Array, Condition


class Denoiser(nn.Module):
  """Clean tokens from those in u-space.

  Attributes:
    network: (u_BGNC, cond) → {"readout": x_BGNC}, as `dit.DiT`.
  """

  network: nn.Module

  def __call__(self, u_BNC: Array, cond: Condition) -> Array:
    """x_BNC, an estimate of clean data. Class or text, and T, as the teacher's."""
    return self.network(u_BNC[:, None], cond.at(cond.time_B[:, None]))["readout"][:, 0]
