"""Transformer layers with adaptive normalisation, scanned over depth."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ntm.config import TransformerConfig
from ntm.nn import attention, layers
from ntm.typing import Array

_REMAT = {
    "full": jax.checkpoint_policies.nothing_saveable,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


class Layer(nn.Module):
  """One pre-norm layer whose two branches are shifted, scaled and gated by c.

  The modulation starts at zero, so a layer starts as the identity (adaLN-Zero).
  """

  config: TransformerConfig
  dtype: jnp.dtype
  param_dtype: jnp.dtype

  @nn.compact
  def __call__(self, x_BMD, cache, c_BGD, angles_ME, mask, index):
    """(x_BMD, cache) after this layer; arguments as `Stack`."""
    types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    width = x_BMD.shape[-1]
    modulation = layers.dense((6, width), ("embed", None, None), zero=True, name="modulation",
                              **types)(nn.silu(c_BGD))
    shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = jnp.moveaxis(modulation, -2, 0)

    def norm(name):
      return nn.RMSNorm(use_scale=False, name=name, **types)

    h_BMD = layers.modulate(norm("attention_norm")(x_BMD), shift_a, scale_a)
    h_BMD, cache = attention.Attention(
        self.config.num_heads, self.config.num_kv_heads, name="attention", **types)(
            h_BMD, angles_ME, mask, cache, index)
    x_BMD = x_BMD + layers.gate(h_BMD, gate_a)
    h_BMD = layers.modulate(norm("mlp_norm")(x_BMD), shift_m, scale_m)
    h_BMD = layers.Mlp(self.config.mlp_ratio, name="mlp", **types)(h_BMD)
    return x_BMD + layers.gate(h_BMD, gate_m), cache


class Stack(nn.Module):
  """`config.layers` layers as one scan, parameters stacked along a first axis.

  Attributes:
    config: depth, width, heads.
    dtype: compute type.
    param_dtype: parameter type.
    remat: rematerialisation policy, 'none', 'full' or 'dots'.
    unroll: layers in one iteration of the scan.
  """

  config: TransformerConfig
  dtype: jnp.dtype = jnp.float32
  param_dtype: jnp.dtype = jnp.float32
  remat: str = "none"
  unroll: int = 1

  @nn.compact
  def __call__(self, x_BMD: Array, c_BGD: Array, angles_ME: Array, mask: Array | None = None,
               cache: Any = None, index: Array | None = None):
    """Runs the layers.

    Args:
      x_BMD: inputs, a sequence of G levels of M/G tokens.
      c_BGD: conditioning vector of every level.
      angles_ME: rotary angles, [M, E/2].
      mask: boolean, True = attend; broadcast to [B, H, M, M].
      cache: `init_cache()` when decoding one token at a time, else None.
      index: position of the token decoded.

    Returns:
      (outputs [B, M, D], the updated cache or None).
    """
    layer = Layer
    if self.remat != "none":
      layer = nn.remat(layer, policy=_REMAT[self.remat], prevent_cse=False)
    scanned = nn.scan(
        layer, variable_axes={"params": 0}, split_rngs={"params": True},
        in_axes=(0, nn.broadcast, nn.broadcast, nn.broadcast, nn.broadcast),
        length=self.config.layers, unroll=min(self.unroll, self.config.layers),
        metadata_params={nn.PARTITION_NAME: "layers"})
    return scanned(self.config, self.dtype, self.param_dtype, name="layers")(
        x_BMD, cache, c_BGD, angles_ME, mask, index)

  @nn.nowrap
  def init_cache(self, batch_size: int, length: int) -> attention.Cache:
    """Empty caches of all layers, [L, B, M, H, E]."""
    cache = attention.init_cache(batch_size, length, self.config.num_kv_heads,
                                 self.config.width // self.config.num_heads, self.dtype)
    return jax.tree.map(lambda a: jnp.broadcast_to(a, (self.config.layers,) + a.shape), cache)
