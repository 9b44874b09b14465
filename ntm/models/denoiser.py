"""The learned denoiser g: from the last u-space state to clean data [3.9].

A light non-causal Transformer, x = g(u_{t_0}, y, t_0), fitted by mean squared
error to the trajectory score refinement of its teacher. Sampling then needs
neither the transporter's inverse nor a gradient.
"""

import flax.linen as nn
import jax.numpy as jnp

from ntm.config import Config, ModelConfig, TransformerConfig
from ntm.models.dit import Backbone
from ntm.typing import Array, Condition


class Denoiser(nn.Module):
  """Clean tokens from those in u-space.

  Attributes:
    config: of the teacher.
    transformer: of the denoiser.
    multi_step: the teacher serves several T, and the denoiser reads T.
    dtype: compute type.
    param_dtype: parameter type.
  """

  config: ModelConfig
  transformer: TransformerConfig
  multi_step: bool = False
  dtype: jnp.dtype = jnp.float32
  param_dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, u_BNC: Array, cond: Condition) -> Array:
    """x_BNC, an estimate of clean data. Label or text, and T, as the teacher's."""
    scalars = {"time": cond.time_B[:, None]}
    if self.multi_step:
      scalars["steps"] = (1.0 / cond.num_steps_B.astype(cond.time_B.dtype))[:, None]
    net = Backbone(self.config, self.transformer, {"readout": (self.config.num_channels,)},
                   dtype=self.dtype, param_dtype=self.param_dtype, name="network")
    return net(u_BNC[:, None], scalars, cond.label_B)["readout"][:, 0]


def build(config: Config) -> Denoiser:
  """The denoiser a distillation's config describes."""
  dtype = jnp.dtype(config.model.dtype)
  return Denoiser(config.model, config.denoiser, len(config.process.num_steps) > 1, dtype,
                  jnp.promote_types(dtype, jnp.float32))
