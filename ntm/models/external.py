"""Published velocity networks behind the interface of `ntm.models.dit.Backbone`."""

from collections.abc import Mapping

import flax.linen as nn
import jax.numpy as jnp

from ntm.config import ModelConfig
from ntm.nn import embeddings, layers
from ntm.published.flux2 import model as flux2
from ntm.published.flux2.mapping import flux2_config
from ntm.published.sit import model as sit
from ntm.published.sit.mapping import sit_config
from ntm.typing import Array


class Pretrained(nn.Module):
  """The velocity of one level, and what an NTM reads from the last hidden state.

  Attributes:
    config: of the model; `config.backbone` says which network.
    outputs: shapes by name; "readout" is the velocity, others are linear in the
      normalised hidden state and start at zero.
    dtype: compute type.
    param_dtype: parameter type.
  """

  config: ModelConfig
  outputs: Mapping[str, tuple[int, ...]]
  dtype: jnp.dtype = jnp.float32
  param_dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, u_BGNC: Array, scalars: Mapping[str, Array],
               condition_B: Array) -> dict[str, Array]:
    """Runs the network on sequences of one level.

    Args:
      u_BGNC: tokens, G = 1.
      scalars: numbers in [0, 1], [B, 1], by name; the network knows 'time', and
        the others reach the hidden state alone, without effect at first.
      condition_B: classes [B], or text features [B, M, W].

    Returns:
      {name: [B, 1, N, *shape]}, in u's type.
    """
    types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    v_BNC, h_BND = self._network(u_BGNC[:, 0], scalars["time"][:, 0], condition_B)
    out = {"readout": v_BNC}
    if len(self.outputs) > 1:
      h_BND = nn.RMSNorm(use_scale=False, name="norm", **types)(h_BND)
      for name, value in scalars.items():
        if name != "time":
          h_BND += embeddings.ScalarEmbedding(h_BND.shape[-1], True, name=name, **types)(value)
    for name, shape in self.outputs.items():
      if name != "readout":
        out[name] = layers.dense(shape, ("embed",) + (None,) * len(shape), zero=True, name=name,
                                 **types)(h_BND).astype(u_BGNC.dtype)
    return {name: a[:, None] for name, a in out.items()}

  def _network(self, u_BNC, time_B, condition_B):
    """(velocity_BNC, hidden_BND)."""
    config, types = self.config, dict(
        dtype=self.dtype, param_dtype=self.param_dtype, remat=self.config.remat,
        unroll=self.config.unroll, name="backbone")
    if config.backbone.kind == "sit":
      return sit.SiT(sit_config(config), **types)(u_BNC, time_B, condition_B)
    return flux2.Flux2(flux2_config(config), **types)(
        u_BNC, time_B, condition_B, flux2.image_ids(config.grid_shape),
        flux2.text_ids(config.backbone.text_tokens))
