"""Texts as a network sees them that learns to read: token ids to features."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from ntm.config import TransformerConfig
from ntm.nn import rotary, stack
from ntm.nn.numerics import Numerics
from ntm.nn.partitioning import constrain
from ntm.typing import Array


class TextEncoder(nn.Module):
  """A learned vector per token, through a few non-causal Transformer layers.

  Its parameters are learned together with the network that reads the features. Padding changes
  nothing: no token attends to it, and its own features are not to be attended to.

  Attributes:
    transformer: depth, width, heads.
    vocab_size: V, rows of the table.
    numerics: types, rematerialisation.
  """

  transformer: TransformerConfig
  vocab_size: int
  numerics: Numerics = Numerics()

  @nn.compact
  def __call__(self, ids_BM: Array, mask_BM: Array) -> Array:
    """Features [B, M, D] of token ids below V; the mask is True for tokens, False for padding."""
    width, dtype = self.transformer.width, self.numerics.dtype
    init = nn.with_logical_partitioning(nn.initializers.normal(1.0), (None, "embed"))
    table = self.param("table", init, (self.vocab_size, width), self.numerics.param_dtype)
    # Whole for the lookup, as in `ntm.nn.embeddings.LabelEmbedding`.
    table = constrain(jnp.asarray(table, dtype), None, None)
    h_BMD = constrain(table[ids_BM], "batch", None, None)
    length = ids_BM.shape[1]
    angles_ME = rotary.rotary_angles(np.arange(length)[:, None],
                                     width // self.transformer.num_heads)
    # Padding sees itself: a softmax over nothing is not a number.
    seen = mask_BM[:, None, None] | np.eye(length, dtype=bool)
    c_B1D = jnp.zeros((len(ids_BM), 1, width), dtype)  # The same text at every level.
    return stack.Stack(self.transformer, numerics=self.numerics, name="stack")(
        h_BMD, c_B1D, angles_ME, seen)
