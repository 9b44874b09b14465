"""Inception v3 (arXiv 1512.00567) of the Fréchet Inception Distance, for inference.

The network is the one of the TensorFlow graph of 5 December 2015 that FID was defined with. It
differs from later Inceptions in three places:

- average pools within a block divide by the pixels inside of the image, not by 9,
- the last block pools by the maximum where the one before pools by the mean,
- there are 1,008 logits.

Names of layers are those of the PyTorch files of these weights.
"""

from collections.abc import Callable

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from ntm.typing import Array

SIDE = 299  # Of the images, in pixels.
NUM_FEATURES = 2048
NUM_LOGITS = 1008
_EPSILON = 1e-3  # Added to the variances of the normalisation.


@flax.struct.dataclass
class Activations:
  """What the network gives for images.

  Attributes:
    pool_BF: mean of the last block over its pixels, [B, 2048]; the features of FID, precision
      and recall.
    spatial_BHWF: output of block Mixed_6d, [B, 17, 17, 768]; sFID reads seven of its channels.
    logits_BL: [B, 1008].
    unbiased_logits_BL: without their bias, [B, 1008], which the Inception Score reads.
  """

  pool_BF: Array
  spatial_BHWF: Array
  logits_BL: Array
  unbiased_logits_BL: Array


class Inception(nn.Module):
  """Features of images; all parameters are leaves of "params", statistics of norms too."""

  @nn.compact
  def __call__(self, x_BHWC: Array) -> Activations:
    """Activations of images [B, 299, 299, 3], float32, where 0 .. 255 is (x - 128) / 128."""
    h = _ConvNorm(32, (3, 3), 2, "VALID", name="Conv2d_1a_3x3")(x_BHWC)
    h = _ConvNorm(32, (3, 3), padding="VALID", name="Conv2d_2a_3x3")(h)
    h = _ConvNorm(64, (3, 3), name="Conv2d_2b_3x3")(h)
    h = _max_pool(h, 2)
    h = _ConvNorm(80, (1, 1), name="Conv2d_3b_1x1")(h)
    h = _ConvNorm(192, (3, 3), padding="VALID", name="Conv2d_4a_3x3")(h)
    h = _max_pool(h, 2)  # [B, 35, 35, 192].
    for name, pooled in (("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)):
      h = _Mixed5(pooled, name=name)(h)
    h = _Mixed6a(name="Mixed_6a")(h)  # [B, 17, 17, 768].
    for name, width in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160)):
      h = _Mixed6(width, name=name)(h)
    spatial = h
    h = _Mixed6(192, name="Mixed_6e")(h)
    h = _Mixed7a(name="Mixed_7a")(h)  # [B, 8, 8, 1280].
    h = _Mixed7(_mean_pool, name="Mixed_7b")(h)
    h = _Mixed7(_max_pool, name="Mixed_7c")(h)
    pool = h.mean(axis=(1, 2))
    readout = nn.Dense(NUM_LOGITS, precision=jax.lax.Precision.HIGHEST, name="fc")
    logits = readout(pool)
    return Activations(pool, spatial, logits, logits - readout.variables["params"]["bias"])


class _ConvNorm(nn.Module):
  """A convolution, a normalisation by fixed statistics, and ReLU."""

  features: int
  kernel: tuple[int, int]
  stride: int = 1
  padding: str = "SAME"

  @nn.compact
  def __call__(self, x_BHWC):
    kernel = self.param("kernel", nn.initializers.he_normal(),
                        (*self.kernel, x_BHWC.shape[-1], self.features))
    mean = self.param("mean", nn.initializers.zeros_init(), (self.features,))
    var = self.param("var", nn.initializers.ones_init(), (self.features,))
    scale = self.param("scale", nn.initializers.ones_init(), (self.features,))
    bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
    # Of full precision on accelerators: a feature's error would be a bias of the distance.
    h = jax.lax.conv_general_dilated(
        x_BHWC, kernel, (self.stride,) * 2, self.padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"), precision=jax.lax.Precision.HIGHEST)
    return nn.relu((h - mean) * (scale * jax.lax.rsqrt(var + _EPSILON)) + bias)


def _row(h, *layers):
  """Layers in a row, each (name, features, kernel size or shape) of stride 1."""
  for name, features, kernel in layers:
    kernel = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    h = _ConvNorm(features, kernel, name=name)(h)
  return h


def _join(*branches):
  return jnp.concatenate(branches, axis=-1)


class _Mixed5(nn.Module):
  """Branches of 1 x 1, 5 x 5 and twice 3 x 3, and a pool."""

  pooled: int  # Channels of the pool's branch.

  @nn.compact
  def __call__(self, h):
    return _join(
        _row(h, ("branch1x1", 64, 1)),
        _row(h, ("branch5x5_1", 48, 1), ("branch5x5_2", 64, 5)),
        _row(h, ("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)),
        _row(_mean_pool(h), ("branch_pool", self.pooled, 1)))


class _Mixed6a(nn.Module):
  """From 35 x 35 to 17 x 17 pixels."""

  @nn.compact
  def __call__(self, h):
    deep = _row(h, ("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3))
    return _join(_ConvNorm(384, (3, 3), 2, "VALID", name="branch3x3")(h),
                 _ConvNorm(96, (3, 3), 2, "VALID", name="branch3x3dbl_3")(deep),
                 _max_pool(h, 2))


class _Mixed6(nn.Module):
  """Branches of 1 x 1, and of 7 x 7 as rows and columns once and twice, and a pool."""

  width: int

  @nn.compact
  def __call__(self, h):
    width = self.width
    return _join(
        _row(h, ("branch1x1", 192, 1)),
        _row(h, ("branch7x7_1", width, 1), ("branch7x7_2", width, (1, 7)),
             ("branch7x7_3", 192, (7, 1))),
        _row(h, ("branch7x7dbl_1", width, 1), ("branch7x7dbl_2", width, (7, 1)),
             ("branch7x7dbl_3", width, (1, 7)), ("branch7x7dbl_4", width, (7, 1)),
             ("branch7x7dbl_5", 192, (1, 7))),
        _row(_mean_pool(h), ("branch_pool", 192, 1)))


class _Mixed7a(nn.Module):
  """From 17 x 17 to 8 x 8 pixels."""

  @nn.compact
  def __call__(self, h):
    short = _row(h, ("branch3x3_1", 192, 1))
    long = _row(h, ("branch7x7x3_1", 192, 1), ("branch7x7x3_2", 192, (1, 7)),
                ("branch7x7x3_3", 192, (7, 1)))
    return _join(_ConvNorm(320, (3, 3), 2, "VALID", name="branch3x3_2")(short),
                 _ConvNorm(192, (3, 3), 2, "VALID", name="branch7x7x3_4")(long),
                 _max_pool(h, 2))


class _Mixed7(nn.Module):
  """Branches of 1 x 1 and 3 x 3, the latter parted into a row and a column, and a pool."""

  pool: Callable[[Array], Array]

  @nn.compact
  def __call__(self, h):
    one = _row(h, ("branch3x3_1", 384, 1))
    two = _row(h, ("branch3x3dbl_1", 448, 1), ("branch3x3dbl_2", 384, 3))
    return _join(
        _row(h, ("branch1x1", 320, 1)),
        _row(one, ("branch3x3_2a", 384, (1, 3))), _row(one, ("branch3x3_2b", 384, (3, 1))),
        _row(two, ("branch3x3dbl_3a", 384, (1, 3))), _row(two, ("branch3x3dbl_3b", 384, (3, 1))),
        _row(self.pool(h), ("branch_pool", 192, 1)))


def _mean_pool(h):
  """Means of 3 x 3 pixels, at the border of those inside."""
  return nn.avg_pool(h, (3, 3), (1, 1), "SAME", count_include_pad=False)


def _max_pool(h, stride=1):
  """Maxima of 3 x 3 pixels; of stride 1 the size stays."""
  return nn.max_pool(h, (3, 3), (stride, stride), "SAME" if stride == 1 else "VALID")
