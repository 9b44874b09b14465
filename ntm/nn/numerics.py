"""Types of a network and how the compiler is to run it: one value, given from module to module."""

import dataclasses
from typing import Any

import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Numerics:
  """What changes the rounding, memory and speed of a network, but not what it computes.

  Attributes:
    dtype: compute type. Affine maps, log-determinants and likelihoods take the type of
      the data, float32 or better, independent of this.
    param_dtype: parameter type.
    remat: what the backward pass computes again, see `ntm.config.ModelConfig`.
    unroll: layers per iteration of a scan over depth.
    attention_kernel: when to use the accelerator's own, see `ntm.config.ModelConfig`.
  """

  dtype: jnp.dtype = jnp.float32
  param_dtype: jnp.dtype = jnp.float32
  remat: str = "none"
  unroll: int = 1
  attention_kernel: str = "auto"

  @property
  def types(self) -> dict[str, jnp.dtype]:
    """Keywords of flax's norms and embeddings, and of `ntm.nn.layers`."""
    return {"dtype": self.dtype, "param_dtype": self.param_dtype}

  @property
  def products(self) -> dict[str, Any]:
    """Keywords of flax's linear layers and convolutions."""
    return {**self.types, "precision": product_precision(self.dtype)}


def product_precision(dtype) -> str | None:
  """Precision of matrix products in this type: float32 is float32 on every device.

  By default GPUs and TPUs round the factors of a float32 product to 10 or 7 bits. The
  parallel direction of a bijector and its token-by-token inverse then differ by far more
  than float32 rounds, and so do the log-determinants of the two. In narrower types there is
  nothing to choose: None.
  """
  return "highest" if jnp.finfo(dtype).bits >= 32 else None
