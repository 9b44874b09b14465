"""Attention with grouped key/value heads, QK-norm, rotary positions and a cache."""

import math

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from ntm.nn import layers, rotary
from ntm.typing import Array


@flax.struct.dataclass
class Cache:
  """Keys and values of the tokens decoded so far, at a static length.

  Tokens lie along the last axis of the keys, so that the products of a query
  with them read memory in order.

  Attributes:
    key_BHEM: rotated, normalised keys; zeros at positions not yet filled.
    value_BHME: values.
  """

  key_BHEM: Array
  value_BHME: Array

  def grow(self, length: int) -> "Cache":
    """The same tokens in a longer cache."""
    extra = length - self.key_BHEM.shape[-1]
    pad = lambda a, axis: jnp.pad(a, [(0, extra if i == axis else 0) for i in range(4)])
    return Cache(pad(self.key_BHEM, 3), pad(self.value_BHME, 2))


def init_cache(batch_size: int, length: int, num_kv_heads: int, head_width: int, dtype) -> Cache:
  """An empty cache."""
  key = jnp.zeros((batch_size, num_kv_heads, head_width, length), dtype)
  return Cache(key, jnp.swapaxes(key, 2, 3))


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
               cache: Cache | None = None, index: Array | None = None, causal: bool = True):
    """Attends within the sequence, or from new tokens into the cache.

    Args:
      x_BMD: inputs; the new tokens when decoding.
      angles_ME: rotary angles of these positions.
      mask: boolean, True = attend; broadcast to [B, H, M, M]. Not read with a cache.
      cache: keys and values so far; the new ones are written from `index` on.
      index: position of the first new token.
      causal: with a cache, each new token sees itself and those before; else
        all new tokens see each other too.

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
      update = jax.lax.dynamic_update_slice_in_dim
      cache = Cache(update(cache.key_BHEM, jnp.moveaxis(key, 1, 3), index, axis=3),
                    update(cache.value_BHME, jnp.moveaxis(value, 1, 2), index, axis=2))
      length = x_BMD.shape[1]
      last_M = index + (jnp.arange(length) if causal else jnp.full(length, length - 1))
      seen = jnp.arange(cache.key_BHEM.shape[-1]) <= last_M[:, None]
      out = _attend(query, cache, seen[None, None])
    elif self.dtype == jnp.float64:
      # jax.nn.dot_product_attention takes its softmax in float32 whatever the inputs.
      out = _attend(query, Cache(jnp.moveaxis(key, 1, 3), jnp.moveaxis(value, 1, 2)), mask)
    else:
      out = jax.nn.dot_product_attention(query, key, value, mask=mask)
    out = layers.dense(width, ("heads", "head_width", "embed"), axis=(-2, -1), name="out",
                       dtype=self.dtype, param_dtype=self.param_dtype)(out)
    return out, cache


def _attend(query_BMHE: Array, cache: Cache, mask: Array | None) -> Array:
  """Attention in the layout of the cache; mask [B or 1, 1, M, keys]."""
  batch_size, length, num_heads, head_width = query_BMHE.shape
  num_kv_heads = cache.key_BHEM.shape[1]
  # J: the queries of all heads that share a key head, token by token.
  query = query_BMHE.reshape(batch_size, length, num_kv_heads, -1, head_width)
  query_BHJE = query.transpose(0, 2, 1, 3, 4).reshape(batch_size, num_kv_heads, -1, head_width)
  scores_BHJM = (query_BHJE @ cache.key_BHEM).astype(jnp.promote_types(query.dtype, jnp.float32))
  scores_BHJM = scores_BHJM / math.sqrt(head_width)
  if mask is not None:
    seen = jnp.repeat(mask, num_heads // num_kv_heads, axis=2)
    scores_BHJM = jnp.where(seen, scores_BHJM, -jnp.inf)
  weights = jax.nn.softmax(scores_BHJM, axis=-1)
  out_BHJE = weights.astype(query.dtype) @ cache.value_BHME
  out = out_BHJE.reshape(batch_size, num_kv_heads, length, -1, head_width)
  return out.transpose(0, 2, 1, 3, 4).reshape(query_BMHE.shape)
