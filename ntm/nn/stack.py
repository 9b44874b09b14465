"""Transformer layers with adaptive normalisation, scanned over depth."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ntm.config import TransformerConfig
from ntm.nn import attention, layers
from ntm.nn.numerics import Numerics
from ntm.nn.partitioning import constrain
from ntm.typing import Array

_REMAT = {
    "full": jax.checkpoint_policies.nothing_saveable,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "attention": jax.checkpoint_policies.save_only_these_names("attention"),
}


def over_depth(layer: type[nn.Module], length: int, in_axes: tuple,
               numerics: Numerics) -> type[nn.Module]:
  """A layer (carry, *inputs) → (carry, None), one after the other as one scan.

  Args:
    layer: the class of one layer.
    length: number of layers; their parameters are stacked along a first axis.
    in_axes: of the inputs, 0 to slice one per layer or nn.broadcast.
    numerics: its rematerialisation policy and layers per iteration.
  """
  if numerics.remat != "none":
    layer = nn.remat(layer, policy=_REMAT[numerics.remat], prevent_cse=False)
  return nn.scan(layer, variable_axes={"params": 0}, split_rngs={"params": True},
                 in_axes=in_axes, length=length, unroll=min(numerics.unroll, length),
                 metadata_params={nn.PARTITION_NAME: "layers"})


class Layer(nn.Module):
  """One pre-norm layer whose two branches are shifted, scaled and gated by c.

  The modulation starts at zero, so a layer starts as the identity (adaLN-Zero).
  """

  config: TransformerConfig
  causal: bool
  numerics: Numerics

  @nn.compact
  def __call__(self, x_BMD, modulation_BG6D, angles_ME, mask, cache=None, index=None):
    """(x_BMD, cache) after this layer; arguments as `Stack` and `Attention`."""
    shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = jnp.moveaxis(modulation_BG6D, -2, 0)
    x_BMD = constrain(x_BMD, "batch", None, None)

    def norm(name):
      return nn.RMSNorm(use_scale=False, name=name, **self.numerics.types)

    h_BMD = layers.modulate(norm("attention_norm")(x_BMD), shift_a, scale_a)
    h_BMD, cache = attention.Attention(
        self.config.num_heads, self.config.num_kv_heads, self.causal, numerics=self.numerics,
        name="attention")(
            h_BMD, angles_ME, mask, cache, index)
    x_BMD = x_BMD + layers.gate(h_BMD, gate_a)
    h_BMD = layers.modulate(norm("mlp_norm")(x_BMD), shift_m, scale_m)
    h_BMD = layers.Mlp(self.config.mlp_ratio, numerics=self.numerics, name="mlp")(h_BMD)
    return x_BMD + layers.gate(h_BMD, gate_m), cache


class Stack(nn.Module):
  """`config.layers` layers as one scan, parameters stacked along a first axis.

  Attributes:
    config: depth, width, heads.
    causal: each token attends to itself and those before it.
    numerics: types, rematerialisation.
  """

  config: TransformerConfig
  causal: bool = False
  numerics: Numerics = Numerics()

  def setup(self):
    """Makes the submodules."""
    self.modulation = nn.vmap(
        _Modulation, variable_axes={"params": 0}, split_rngs={"params": True},
        in_axes=None, axis_size=self.config.layers,
        metadata_params={nn.PARTITION_NAME: "layers"})(self.numerics)
    layer = over_depth(Layer, self.config.layers, (0, nn.broadcast, nn.broadcast),
                       self.numerics)
    self.layers = layer(self.config, self.causal, self.numerics)

  def __call__(self, x_BMD: Array, c_BGD: Array, angles_ME: Array,
               mask: Array | None = None) -> Array:
    """Runs the layers on whole sequences.

    Args:
      x_BMD: inputs, a sequence of G levels of M/G tokens.
      c_BGD: conditioning vector of every level.
      angles_ME: rotary angles, [M, E/2].
      mask: boolean, True = attend, [B or 1, 1, M, M]; not read if causal.
    """
    x_BMD, _ = self.layers(x_BMD, self.modulation(c_BGD), angles_ME, mask)
    return x_BMD

  def decoding_weights(self, c_B1D: Array) -> list:
    """What does not change from token to token: parameters and modulation of every layer.

    Cut into layers once, before the loop over tokens: a slice inside it would
    copy all parameters for every token.
    """
    parts = (self.variables["params"]["layers"], self.modulation(c_B1D))
    return [jax.tree.map(lambda a, i=i: a[i], parts) for i in range(self.config.layers)]

  @nn.nowrap
  def decode(self, weights: list, x_BMD: Array, angles_ME: Array, caches: list,
             index: Array) -> tuple[Array, list]:
    """Runs the layers on the tokens index .. index + M - 1, after those in the caches.

    Unless causal, these tokens also attend to each other.

    Args:
      weights: of `decoding_weights`.
      x_BMD: inputs of these tokens, one level.
      angles_ME: their rotary angles.
      caches: of `init_caches`, or of the call before.
      index: position of the first of them.

    Returns:
      (outputs [B, M, D], the caches with these tokens).
    """
    layer = Layer(self.config, self.causal, self.numerics, parent=None)
    caches = list(caches)
    for i, (params, modulation_B16D) in enumerate(weights):
      x_BMD, caches[i] = layer.apply({"params": params}, x_BMD, modulation_B16D, angles_ME, None,
                                     caches[i], index)
    return x_BMD, caches


def init_caches(config: TransformerConfig, batch_size: int, length: int,
                dtype) -> list[attention.Cache]:
  """Empty caches for `Stack.decode`, one per layer."""
  return [attention.init_cache(batch_size, length, config.num_kv_heads,
                               config.width // config.num_heads, dtype)
          for _ in range(config.layers)]


class _Modulation(nn.Module):
  """Shift, scale and gate of the two branches of one layer, zero at first."""

  numerics: Numerics

  @nn.compact
  def __call__(self, c_BGD):
    return layers.dense((6, c_BGD.shape[-1]), ("embed", None, None), zero=True, name="out",
                        **self.numerics.types)(nn.silu(c_BGD))
