"""Flow matching: a network for the velocity v(x_t, t, y) = E[eps - x_0 | x_t, y].

By default it is the same Transformer as the predictor's, with one output; the
weights of any can become an NTM's: `PredictorConfig.output = "velocity"`.
"""

import flax.linen as nn
import jax.numpy as jnp

from ntm.config import Config, ModelConfig
from ntm.models.dit import Backbone
from ntm.models.external import Pretrained
from ntm.typing import Array


class FlowMatching(nn.Module):
  """The velocity network.

  Attributes:
    config: of the model; the network is `config.predictor`.
    dtype: compute type.
    param_dtype: parameter type.
  """

  config: ModelConfig
  dtype: jnp.dtype = jnp.float32
  param_dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x_BNC: Array, time_B: Array, label_B: Array | None = None) -> Array:
    """v_BNC from noisy tokens, their level and condition.

    Args:
      x_BNC: tokens at level t.
      time_B: t.
      label_B: class (`num_classes` for null) or text features [B, M, W]; None if
        unconditional.
    """
    outputs = {"readout": (self.config.num_channels,)}
    types = dict(dtype=self.dtype, param_dtype=self.param_dtype, name="network")
    if self.config.backbone.kind == "dit":
      net = Backbone(self.config, self.config.predictor, outputs, **types)
    else:
      net = Pretrained(self.config, outputs, **types)
    return net(x_BNC[:, None], {"time": time_B[:, None]}, label_B)["readout"][:, 0]


def build(config: Config) -> FlowMatching:
  """The velocity network a run's config describes."""
  dtype = jnp.dtype(config.model.dtype)
  return FlowMatching(config.model, dtype, jnp.promote_types(dtype, jnp.float32))
