"""Linear layers and norms with logical axis names, and adaptive modulation."""

import flax.linen as nn

from ntm.nn.numerics import Numerics, product_precision
from ntm.nn.partitioning import constrain
from ntm.typing import Array


def dense(features, axes: tuple[str | None, ...], *, zero: bool = False, **kwargs) -> nn.Module:
  """A linear layer with bias whose axes carry logical names.

  Args:
    features: output width or widths.
    axes: logical names of the kernel's axes; the sharding table maps them to
      the mesh. The bias takes those of the output.
    zero: start both kernel and bias at zero.
    **kwargs: of nn.DenseGeneral (axis, name, dtype, param_dtype).
  """
  outputs = 1 if isinstance(features, int) else len(features)
  kernel_init = nn.initializers.zeros_init() if zero else nn.initializers.lecun_normal()
  return nn.DenseGeneral(
      features, precision=product_precision(kwargs["dtype"]),
      kernel_init=nn.with_logical_partitioning(kernel_init, axes),
      bias_init=nn.with_logical_partitioning(nn.initializers.zeros_init(), axes[-outputs:]),
      **kwargs)


def rms_norm(axis: str | None, **kwargs) -> nn.Module:
  """nn.RMSNorm whose gain carries the logical name of the axis it is over; None keeps it whole."""
  return nn.RMSNorm(
      scale_init=nn.with_logical_partitioning(nn.initializers.ones_init(), (axis,)), **kwargs)


def modulate(x_BMD: Array, shift_BGD: Array, scale_BGD: Array) -> Array:
  """x (1 + scale) + shift, the sequence being G levels of M/G tokens each."""
  x_BGND = x_BMD.reshape(*shift_BGD.shape[:2], -1, x_BMD.shape[-1])
  x_BGND = x_BGND * (1 + scale_BGD[:, :, None]) + shift_BGD[:, :, None]
  return x_BGND.reshape(x_BMD.shape)


def gate(x_BMD: Array, gate_BGD: Array) -> Array:
  """x * gate, the sequence being G levels of M/G tokens each."""
  x_BGND = x_BMD.reshape(*gate_BGD.shape[:2], -1, x_BMD.shape[-1])
  return (x_BGND * gate_BGD[:, :, None]).reshape(x_BMD.shape)


class Mlp(nn.Module):
  """Two linear layers around a GELU.

  Attributes:
    ratio: width between the layers over D.
    exact: the GELU itself, not its tanh form, which is faster on CPU.
    numerics: types, rematerialisation.
  """

  ratio: int
  exact: bool = False
  numerics: Numerics = Numerics()

  @nn.compact
  def __call__(self, x_BMD: Array) -> Array:
    """[B, M, D] → [B, M, D]."""
    width = x_BMD.shape[-1]
    types = self.numerics.types
    h_BMF = dense(self.ratio * width, ("embed", "mlp"), name="up", **types)(x_BMD)
    h_BMF = constrain(nn.gelu(h_BMF, approximate=not self.exact), "batch", None, "mlp")
    return dense(width, ("mlp", "embed"), name="down", **types)(h_BMF)
