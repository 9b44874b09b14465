"""Attention with grouped key/value heads, QK-norm, rotary positions and a cache."""

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from ntm.nn import layers, rotary
from ntm.typing import Array


@flax.struct.dataclass
class Cache:
  """Keys and values of the tokens decoded so far, at full static length.

  Attributes:
    key_BMHE: rotated, normalised keys; zeros at positions not yet filled.
    value_BMHE: values.
  """

  key_BMHE: Array
  value_BMHE: Array


def init_cache(batch_size: int, length: int, num_kv_heads: int, head_width: int, dtype) -> Cache:
  """An empty cache."""
  zeros = jnp.zeros((batch_size, length, num_kv_heads, head_width), dtype)
  return Cache(zeros, zeros)


class Attention(nn.Module):
  """softmax(q k' / sqrt(E)) v with RMS-normalised q and k.

  Attributes:
    num_heads: H.
    num_kv_heads: heads of keys and values, each shared by H / num_kv_heads queries.
    dtype: compute type.
    param_dtype: parameter type.
  """

  num_heads: int
  num_kv_heads: int
  dtype: jnp.dtype = jnp.float32
  param_dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x_BMD: Array, angles_ME: Array, mask: Array | None = None,
               cache: Cache | None = None, index: Array | None = None):
    """Attends within the sequence, or from one new token into the cache.

    Args:
      x_BMD: inputs; a single token (M = 1) when decoding.
      angles_ME: rotary angles of these positions.
      mask: boolean, True = attend; broadcast to [B, H, M, keys].
      cache: keys and values so far; written at `index`.
      index: position of the token decoded; later positions are not seen.

    Returns:
      (outputs [B, M, D], the updated cache or None).
    """
    width = x_BMD.shape[-1]
    head_width = width // self.num_heads

    def project(heads, name):
      return layers.dense((heads, head_width), ("embed", "heads", "head_width"), name=name,
                          dtype=self.dtype, param_dtype=self.param_dtype)

    def norm(name):
      return nn.RMSNorm(name=name, dtype=self.dtype, param_dtype=self.param_dtype)

    query = rotary.rotate(norm("query_norm")(project(self.num_heads, "query")(x_BMD)), angles_ME)
    key = rotary.rotate(norm("key_norm")(project(self.num_kv_heads, "key")(x_BMD)), angles_ME)
    value = project(self.num_kv_heads, "value")(x_BMD)
    if cache is not None:
      key = jax.lax.dynamic_update_slice_in_dim(cache.key_BMHE, key, index, axis=1)
      value = jax.lax.dynamic_update_slice_in_dim(cache.value_BMHE, value, index, axis=1)
      cache = Cache(key, value)
      mask = (jnp.arange(key.shape[1]) <= index)[None, None, None, :]
    out = jax.nn.dot_product_attention(query, key, value, mask=mask)
    out = layers.dense(width, ("heads", "head_width", "embed"), axis=(-2, -1), name="out",
                       dtype=self.dtype, param_dtype=self.param_dtype)(out)
    return out, cache
