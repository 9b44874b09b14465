"""Channels of a token one after the other: each map also reads the channels before its own.

An autoregressive block gives the maps of token n from the tokens before it. If its channels are
autoregressive too, those of channel c also read the channels before c of the same token,

  theta_nc = W_c h_n + A_c gelu(U_c h_n + V_c x_{n,<c} + b_c),                     (MADE-like)

where h_n are the block's features and W_c h_n the parameters that it has anyway. Every channel has
hidden units of its own, so the forward direction is one pass for all channels, and the inverse,
channel after channel, costs as much in total. A starts at zero, so a block starts as the identity.
The network runs once per token in both directions.

The Jacobian stays triangular, over (token, channel), with the slopes of the maps as its diagonal.
Nothing changes for a solver of the block: its latents and the tokens before determine a token.
"""

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from ntm.flows.elementwise import Map, Maps
from ntm.nn import layers
from ntm.nn.numerics import Numerics, product_precision
from ntm.typing import Array


@flax.struct.dataclass
class OrderedMap:
  """The maps of tokens whose channels are mapped in order.

  Attributes:
    raw_BMPC: W h, unconstrained parameters.
    hidden_BMCH: U h + b, H hidden units per channel.
    earlier_CCH: V, zero where a channel may not read [reading channel, channel read, H].
    output_CHP: A.
    maps: which map has these parameters.
    descending: the last channel comes first.
  """

  raw_BMPC: Array
  hidden_BMCH: Array
  earlier_CCH: Array
  output_CHP: Array
  maps: Maps = flax.struct.field(pytree_node=False)
  descending: bool = flax.struct.field(pytree_node=False)

  def given(self, x_BMC: Array) -> Map:
    """The map of every entry, all channels being known."""
    earlier_BMCH = self._product("bmk,ckh->bmch", x_BMC, self.earlier_CCH)
    change_BMPC = self._product("bmch,chp->bmpc", nn.gelu(self.hidden_BMCH + earlier_BMCH),
                                self.output_CHP)
    return self.maps.read(self.raw_BMPC + change_BMPC.astype(self.raw_BMPC.dtype))

  def inverse(self, u_BMC: Array) -> tuple[Array, Array]:
    """(x_BMC, log dx/du [B, M, C]), channel after channel."""
    number = jnp.arange(u_BMC.shape[-1])

    def solve(x_BMC, channel):
      index, u_BM, raw_BMP, hidden_BMH, earlier_CH, output_HP = channel
      hidden_BMH += self._product("bmk,kh->bmh", x_BMC, earlier_CH)
      change_BMP = self._product("bmh,hp->bmp", nn.gelu(hidden_BMH), output_HP)
      raw_BMP += change_BMP.astype(raw_BMP.dtype)
      x_BM1, log_slope_BM1 = self.maps.read(raw_BMP[..., None]).inverse(u_BM[..., None])
      return jnp.where(number == index, x_BM1, x_BMC), log_slope_BM1[..., 0]

    channels = (number, *(jnp.moveaxis(a, -1, 0) for a in (u_BMC, self.raw_BMPC)),
                jnp.moveaxis(self.hidden_BMCH, -2, 0), self.earlier_CCH, self.output_CHP)
    x_BMC, log_slope_CBM = jax.lax.scan(solve, jnp.zeros_like(u_BMC), channels,
                                        reverse=self.descending)
    return x_BMC, jnp.moveaxis(log_slope_CBM, 0, -1)

  def _product(self, axes, a, kernel):
    """An einsum in the type of the network."""
    dtype = self.hidden_BMCH.dtype
    return jnp.einsum(axes, a.astype(dtype), kernel.astype(dtype),
                      precision=product_precision(dtype))


class ChannelHead(nn.Module):
  """Reads an `OrderedMap` off the features of a block.

  Attributes:
    maps: which map its channels have.
    num_channels: C, at least 2 for a head that has an effect.
    descending: the last channel comes first.
    numerics: types.
  """

  maps: Maps
  num_channels: int
  descending: bool = False
  numerics: Numerics = Numerics()

  @nn.compact
  def __call__(self, h_BMD: Array, raw_BMPC: Array) -> OrderedMap:
    """The maps of tokens of features h and of parameters without the earlier channels."""
    number, param_dtype = self.num_channels, self.numerics.param_dtype
    units = max(1, h_BMD.shape[-1] // number)  # D in total.
    hidden_BMCH = layers.dense((number, units), ("embed", None, None), name="hidden",
                               **self.numerics.types)(h_BMD)

    def kernel(name, init, *shape):
      return self.param(name, nn.with_logical_partitioning(init, (None,) * 3), shape, param_dtype)

    earlier_CCH = kernel("earlier", nn.initializers.lecun_normal(1, 2, 0), number, number, units)
    output_CHP = kernel("output", nn.initializers.zeros_init(), number, units,
                        self.maps.num_parameters)
    read_CC = jnp.tri(number, k=-1, dtype=bool)
    read_CC1 = (read_CC.T if self.descending else read_CC)[..., None]
    return OrderedMap(raw_BMPC, hidden_BMCH, jnp.where(read_CC1, earlier_CCH, 0), output_CHP,
                      self.maps, self.descending)
