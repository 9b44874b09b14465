"""Types of a network and how the compiler is to run it: one value, given from module to module."""

import dataclasses

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
  """

  dtype: jnp.dtype = jnp.float32
  param_dtype: jnp.dtype = jnp.float32
  remat: str = "none"
  unroll: int = 1

  @property
  def types(self) -> dict[str, jnp.dtype]:
    """Keywords of flax's own layers and of `ntm.nn.layers`."""
    return {"dtype": self.dtype, "param_dtype": self.param_dtype}
