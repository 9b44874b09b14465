"""A published velocity network in place of `ntm.models.dit.DiT`."""

from collections.abc import Callable, Mapping

import flax.linen as nn

from ntm.nn import embeddings, layers
from ntm.nn.numerics import Numerics
from ntm.typing import Array, Condition


class External(nn.Module):
  """The velocity of one level, and what an NTM reads from the last hidden state.

  Attributes:
    backbone: the network, (x_BNC, time_B, *inputs) → (velocity_BNC, hidden_BND).
    inputs: cond → the other inputs of the network, such as the class.
    outputs: shapes by name; "readout" is the velocity, others are linear in the
      normalised hidden state and start at zero, but for "features".
    numerics: types of what is added to the network.
  """

  backbone: nn.Module
  inputs: Callable[[Condition], tuple]
  outputs: Mapping[str, tuple[int, ...]]
  numerics: Numerics = Numerics()

  @nn.compact
  def __call__(self, u_BGNC: Array, cond: Condition) -> dict[str, Array]:
    """Runs the network on sequences of one level.

    Args:
      u_BGNC: tokens, G = 1.
      cond: its times are [B, 1]. The network knows the level; the level predicted and T
        reach the hidden state alone, without effect at first.

    Returns:
      {name: [B, 1, N, *shape]}, in u's type.
    """
    types = self.numerics.types
    v_BNC, h_BND = self.backbone(u_BGNC[:, 0], cond.time_B[:, 0], *self.inputs(cond))
    out = {"readout": v_BNC}
    if len(self.outputs) > 1:
      h_BND = nn.RMSNorm(use_scale=False, name="norm", **types)(h_BND)
      for name, value in embeddings.condition_scalars(cond).items():
        if name != "time":
          h_BND += embeddings.ScalarEmbedding(h_BND.shape[-1], True, self.numerics, name=name)(
              value)
    for name, shape in self.outputs.items():
      if name != "readout":
        out[name] = layers.dense(shape, ("embed",) + (None,) * len(shape),
                                 zero=name != "features", name=name,
                                 **types)(h_BND).astype(u_BGNC.dtype)
    return {name: a[:, None] for name, a in out.items()}
