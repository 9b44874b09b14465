"""Flow matching: a network for the velocity v(x_t, t, y) = E[eps - x_0 | x_t, y].

By default it is the same Transformer as the predictor's, with one output; the
weights of any can become an NTM's: `PredictorConfig.output = "velocity"`.
"""

import flax.linen as nn

from ntm.typing import Array, Condition


class Velocity(nn.Module):
  """The velocity of tokens.

  Attributes:
    network: (x_BGNC, cond) → {"readout": velocity_BGNC}, as `dit.DiT` or
      `external.External`.
  """

  network: nn.Module

  def __call__(self, x_BNC: Array, cond: Condition) -> Array:
    """v_BNC from noisy tokens, their level and class or text."""
    return self.network(x_BNC[:, None], cond.at(cond.time_B[:, None]))["readout"][:, 0]
