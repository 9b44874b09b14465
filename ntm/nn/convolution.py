"""Residual blocks of convolutions and attention over pixels, as autoencoders use them."""

import flax.linen as nn

from ntm.nn import attention
from ntm.nn.numerics import Numerics
from ntm.typing import Array


class Middle(nn.Module):
  """Residual block, attention if any, residual block, of one width."""

  attention: bool
  num_groups: int
  numerics: Numerics

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Shape unchanged."""
    common = dict(num_groups=self.num_groups, numerics=self.numerics)
    x = ResidualBlock(x.shape[-1], name="block_0", **common)(x)
    if self.attention:
      x = PixelAttention(name="attention", **common)(x)
    return ResidualBlock(x.shape[-1], name="block_1", **common)(x)


class ResidualBlock(nn.Module):
  """x + conv(silu(norm(conv(silu(norm(x)))))); a 1x1 convolution of x if widths differ."""

  width: int
  num_groups: int
  numerics: Numerics

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """[B, height, width, channels] → [B, height, width, self.width]."""
    types = self.numerics.products
    h = nn.silu(group_norm("norm_0", self.num_groups, self.numerics)(x))
    h = nn.Conv(self.width, (3, 3), name="conv_0", **types)(h)
    h = nn.silu(group_norm("norm_1", self.num_groups, self.numerics)(h))
    h = nn.Conv(self.width, (3, 3), name="conv_1", **types)(h)
    if x.shape[-1] != self.width:
      x = nn.Conv(self.width, (1, 1), name="shortcut", **types)(x)
    return x + h


class PixelAttention(nn.Module):
  """x + attention(norm(x)), one head over all pixels."""

  num_groups: int
  numerics: Numerics

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Shape unchanged."""
    types = self.numerics.products
    batch, height, width, channels = x.shape
    h = group_norm("norm", self.num_groups, self.numerics)(x)
    h_BMD = h.reshape(batch, height * width, channels)
    # [B, M, one head, D].
    query, key, value = (
        nn.Dense(channels, name=name, **types)(h_BMD)[:, :, None]
        for name in ("query", "key", "value"))
    h_BMD = attention.dot_product_attention(query, key, value)[:, :, 0]
    return x + nn.Dense(channels, name="out", **types)(h_BMD).reshape(x.shape)


def group_norm(name: str, num_groups: int, numerics: Numerics) -> nn.Module:
  """Mean 0 and variance 1 over pixels and a group's channels, then scale and bias per channel."""
  # The fast variance, E[x²] - E[x]², loses digits where a group's mean is large.
  return nn.GroupNorm(num_groups, epsilon=1e-6, use_fast_variance=False, name=name,
                      **numerics.types)
