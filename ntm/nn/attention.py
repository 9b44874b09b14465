"""Attention with grouped key/value heads, QK-norm, rotary positions and a cache."""

import itertools
import math

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from ntm.nn import kernels, layers, rotary
from ntm.nn.numerics import Numerics, product_precision
from ntm.nn.partitioning import constrain
from ntm.typing import Array


@flax.struct.dataclass
class Cache:
  """Keys and values of the tokens decoded so far, at a static length.

  Tokens are along the last axis of the keys, so that the products of a query
  with them read memory in order. Examples and heads are one axis, P = B H: with
  two, XLA on CPU copies the cache for every token at batch size 1.

  Attributes:
    key_PEM: rotated, normalised keys; zeros at positions not yet filled.
    value_PME: values.
  """

  key_PEM: Array
  value_PME: Array

  def grow(self, length: int) -> "Cache":
    """The same tokens in a longer cache."""
    extra = length - self.key_PEM.shape[-1]
    return Cache(jnp.pad(self.key_PEM, ((0, 0), (0, 0), (0, extra))),
                 jnp.pad(self.value_PME, ((0, 0), (0, extra), (0, 0))))


def init_cache(batch_size: int, length: int, num_kv_heads: int, head_width: int, dtype) -> Cache:
  """An empty cache."""
  key = jnp.zeros((batch_size * num_kv_heads, head_width, length), dtype)
  return Cache(key, jnp.swapaxes(key, 1, 2))


def _to_cache(key_BMHE: Array, value_BMHE: Array) -> Cache:
  """Keys and values in the layout of the cache."""
  merge = lambda a: a.reshape(-1, *a.shape[2:])
  return Cache(merge(key_BMHE.transpose(0, 2, 3, 1)), merge(value_BMHE.transpose(0, 2, 1, 3)))


class Attention(nn.Module):
  """softmax(q k' / sqrt(E)) v, by default with RMS-normalised q and k.

  Attributes:
    num_heads: H.
    num_kv_heads: heads of keys and values, each shared by H / num_kv_heads queries.
    causal: each token attends to itself and those before it; else all that are
      given attend to each other.
    qk_norm: normalise q and k.
    numerics: types, rematerialisation.
  """

  num_heads: int
  num_kv_heads: int
  causal: bool = False
  qk_norm: bool = True
  numerics: Numerics = Numerics()

  @nn.compact
  def __call__(self, x_BMD: Array, angles_ME: Array | None, mask: Array | None = None,
               cache: Cache | None = None, index: Array | None = None):
    """Attends within the sequence, or from new tokens into the cache.

    Args:
      x_BMD: inputs; the new tokens when decoding.
      angles_ME: rotary angles of these positions; None leaves q and k unturned.
      mask: boolean, True = attend, [B or 1, 1, M, M]. Not read if causal or with
        a cache.
      cache: keys and values so far; the new ones are written from `index` on.
      index: position of the first new token.

    Returns:
      (outputs [B, M, D], the updated cache or None).
    """
    width = x_BMD.shape[-1]
    head_width = width // self.num_heads

    def project(heads, name):
      dense = layers.dense((heads, head_width), ("embed", "heads", "head_width"), name=name,
                           **self.numerics.types)
      return lambda x_BMD: constrain(dense(x_BMD), "batch", None, "heads", None)

    def place(a_BMHE, name):
      if self.qk_norm:
        a_BMHE = layers.rms_norm("head_width", name=name, **self.numerics.types)(a_BMHE)
      return a_BMHE if angles_ME is None else rotary.rotate(a_BMHE, angles_ME)

    query = place(project(self.num_heads, "query")(x_BMD), "query_norm")
    key = place(project(self.num_kv_heads, "key")(x_BMD), "key_norm")
    value = project(self.num_kv_heads, "value")(x_BMD)
    new = _to_cache(key, value)
    if cache is not None:
      update = jax.lax.dynamic_update_slice_in_dim
      cache = Cache(update(cache.key_PEM, new.key_PEM, index, axis=2),
                    update(cache.value_PME, new.value_PME, index, axis=1))
      length = x_BMD.shape[1]
      last_M = index + (jnp.arange(length) if self.causal else jnp.full(length, length - 1))
      seen = jnp.arange(cache.key_PEM.shape[-1]) <= last_M[:, None]
      out = _attend(query, cache, seen[None, None])
    else:
      out = None if mask is not None else kernels.attend(
          query, key, value, self.causal, self.numerics.attention_kernel)
      if out is None:
        out = _attend_causally(query, new) if self.causal else _attend(query, new, mask)
      out = checkpoint_name(out, "attention")
    out = layers.dense(width, ("heads", "head_width", "embed"), axis=(-2, -1), name="out",
                       **self.numerics.types)(out)
    return out, cache


def dot_product_attention(query_BMHE: Array, key_BMHE: Array, value_BMHE: Array,
                          mask: Array | None = None) -> Array:
  """`jax.nn.dot_product_attention` with the products of `product_precision`.

  Args:
    query_BMHE: queries.
    key_BMHE: keys, of as many heads or a divisor of them.
    value_BMHE: values, likewise.
    mask: boolean, True = attend, [B or 1, H or 1, M, keys]; a row without True attends uniformly.
  """
  with jax.default_matmul_precision(product_precision(query_BMHE.dtype)):
    return jax.nn.dot_product_attention(query_BMHE, key_BMHE, value_BMHE, mask=mask)


def _attend_causally(query_BMHE: Array, cache: Cache) -> Array:
  """Two halves of the queries: the first has no use for the keys of the second."""
  length = query_BMHE.shape[1]
  out = []
  for start, stop in itertools.pairwise(sorted({0, length // 2, length})):
    seen = np.arange(stop) <= np.arange(start, stop)[:, None]
    keys = Cache(cache.key_PEM[..., :stop], cache.value_PME[:, :stop])
    out.append(_attend(query_BMHE[:, start:stop], keys, seen[None, None]))
  return jnp.concatenate(out, axis=1)


def _attend(query_BMHE: Array, cache: Cache, mask: Array | None) -> Array:
  """Attention in the layout of the cache, softmax in float32 or better; mask [B or 1, 1, M, keys].

  `jax.nn.dot_product_attention` takes its softmax in float32 even of float64.
  """
  batch_size, length, num_heads, head_width = query_BMHE.shape
  num_kv_heads = cache.key_PEM.shape[0] // batch_size
  precise = jnp.promote_types(query_BMHE.dtype, jnp.float32)
  precision = product_precision(query_BMHE.dtype)
  # J: the queries of all heads that share a key head, token by token.
  query = query_BMHE.reshape(batch_size, length, num_kv_heads, -1, head_width)
  query_PJE = query.transpose(0, 2, 1, 3, 4).reshape(cache.key_PEM.shape[0], -1, head_width)
  scores_PJM = jnp.matmul(query_PJE, cache.key_PEM, precision=precision,
                          preferred_element_type=precise)
  scores_PJM = scores_PJM / math.sqrt(head_width)
  if mask is not None:
    seen = jnp.repeat(mask, num_heads // num_kv_heads, axis=2)
    scores_BHJM = scores_PJM.reshape(batch_size, num_kv_heads, *scores_PJM.shape[1:])
    scores_PJM = jnp.where(seen, scores_BHJM, -jnp.inf).reshape(scores_PJM.shape)
  weights_PJM = jax.nn.softmax(scores_PJM, axis=-1).astype(query.dtype)
  out = jnp.matmul(weights_PJM, cache.value_PME, precision=precision)
  out = out.reshape(batch_size, num_kv_heads, length, -1, head_width)
  return out.transpose(0, 2, 1, 3, 4).reshape(query_BMHE.shape)
