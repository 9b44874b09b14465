"""The autoregressive affine block (TarFlow).

A causal Transformer reads tokens 0 .. n-1 and a condition and gives the mean
and log-scale of token n:

  u_n = (x_n - mu_n) / sigma_n,   log det = -sum_n log sigma_n.            [2.6]

Forward (data → latent) is parallel. The inverse x_n = mu_n + sigma_n u_n is
sequential by nature: `ntm.flows.solvers`.

The inputs are shifted right behind a learned start token, so the first token
too has a learnable mean and scale. The output projection starts at zero,
kernel and bias, so the block starts as the identity. The log-scale is bounded,
log sigma = b tanh(raw / b), and the affine arithmetic is float32 or better
whatever the network computes in.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from ntm.config import InverseConfig, TransporterConfig
from ntm.flows import solvers
from ntm.nn import embeddings, layers, rotary, stack
from ntm.typing import Array, Condition


class AutoregressiveBlock(nn.Module):
  """One affine autoregressive bijector over the tokens, in the order given.

  Attributes:
    config: depth, width, heads, bound of the log-scale.
    grid_shape: tokens along every spatial axis; N is their product.
    num_channels: C.
    num_classes: for the class embedding; read if config.class_conditional.
    dtype: compute type of the network.
    param_dtype: parameter type.
    remat: rematerialisation policy.
    unroll: layers in one iteration of the scan over depth.
    multi_step: also condition on the number of steps T.
    inverse: how the inverse is computed.
  """

  config: TransporterConfig
  grid_shape: tuple[int, ...]
  num_channels: int
  num_classes: int = 0
  dtype: jnp.dtype = jnp.float32
  param_dtype: jnp.dtype = jnp.float32
  remat: str = "none"
  unroll: int = 1
  multi_step: bool = False
  inverse: InverseConfig = InverseConfig()

  def setup(self):
    """Makes the submodules."""
    config = self.config
    types = dict(dtype=self.dtype, param_dtype=self.param_dtype)
    self.embed = layers.dense(config.width, (None, "embed"), **types)
    self.start = self.param(
        "start", nn.with_logical_partitioning(nn.initializers.normal(0.02), ("embed",)),
        (config.width,), self.param_dtype)
    self.position = embeddings.PositionEmbedding(param_dtype=self.param_dtype)
    self.time = embeddings.ScalarEmbedding(config.width, **types)
    if self.multi_step:
      self.steps = embeddings.ScalarEmbedding(config.width, **types)
    if config.class_conditional:
      self.label = embeddings.LabelEmbedding(self.num_classes, config.width, **types)
    self.stack = stack.Stack(config, causal=True, remat=self.remat, unroll=self.unroll, **types)
    self.norm = layers.rms_norm("embed", **types)
    self.readout = layers.dense((2, self.num_channels), ("embed", None, None), zero=True, **types)

  def forward_and_log_det(self, x_BNC: Array, cond: Condition) -> tuple[Array, Array]:
    """All tokens at once: (u_BNC, -sum log sigma) [2.6]."""
    mean_BNC, log_scale_BNC = self.parallel(x_BNC, self._condition(cond))
    self.sow("diagnostics", "log_scale", jnp.stack([log_scale_BNC.min(), log_scale_BNC.max()]))
    return (x_BNC - mean_BNC) * jnp.exp(-log_scale_BNC), -log_scale_BNC.sum(axis=(1, 2))

  def inverse_and_log_det(self, u_BNC: Array, cond: Condition) -> tuple[Array, Array]:
    """By the solver of the config: (x_BNC, +sum log sigma)."""
    c_B1D = self._condition(cond)
    net = BoundBlock(self.clone(parent=None), self.variables, c_B1D,
                     self.stack.decoding_weights(c_B1D), u_BNC.dtype)
    x_BNC, log_det_B, info = solvers.invert(net, u_BNC, self.inverse)
    self.sow("diagnostics", "inverse", info)
    return x_BNC, log_det_B

  def parallel(self, x_BNC: Array, c_B1D: Array) -> tuple[Array, Array]:
    """(mu_BNC, log_sigma_BNC) of all tokens."""
    h_BND = self.embed(x_BNC[:, :-1].astype(self.dtype))
    start_B1D = jnp.broadcast_to(jnp.asarray(self.start, self.dtype),
                                 (x_BNC.shape[0], 1, self.config.width))
    h_BND = self.position(jnp.concatenate([start_B1D, h_BND], axis=1), self._num_tokens)
    return self._affine(self.stack(h_BND, c_B1D, self._angles()), x_BNC.dtype)

  def decode(self, weights: list, previous_BMC: Array, caches: list, index: Array, dtype):
    """(mu_BMC, log_sigma_BMC, caches) of the tokens from `index` on, see `solvers`."""
    positions_M = index + jnp.arange(previous_BMC.shape[1])
    h_BMD = self.embed(previous_BMC.astype(self.dtype))
    h_BMD = jnp.where(positions_M[:, None] == 0, jnp.asarray(self.start, self.dtype), h_BMD)
    h_BMD = self.position(h_BMD, self._num_tokens, positions_M)
    angles_ME = jnp.asarray(self._angles())[positions_M]
    h_BMD, caches = self.stack.decode(weights, h_BMD, angles_ME, caches, index)
    return *self._affine(h_BMD, dtype), caches

  @property
  def _num_tokens(self) -> int:
    return int(np.prod(self.grid_shape))

  def _angles(self):
    return rotary.rotary_angles(rotary.grid_positions(self.grid_shape),
                                self.config.width // self.config.num_heads)

  def _condition(self, cond: Condition) -> Array:
    c_BD = self.time(cond.time_B)
    if self.multi_step:
      c_BD += self.steps(1.0 / cond.num_steps_B.astype(cond.time_B.dtype))
    if self.config.class_conditional:
      c_BD += self.label(cond.label_B)
    return c_BD[:, None]

  def _affine(self, h_BMD, dtype):
    raw_BM2C = self.readout(self.norm(h_BMD)).astype(dtype)
    bound = self.config.log_scale_bound
    return raw_BM2C[..., 0, :], bound * jnp.tanh(raw_BM2C[..., 1, :] / bound)


@dataclasses.dataclass(frozen=True)
class BoundBlock:
  """A block with parameters and condition filled in: `solvers.Conditioner`.

  Calls an unbound copy of the block, which may be traced inside loops.

  Attributes:
    block: has `parallel` and `decode` as `AutoregressiveBlock` does.
    variables: its parameters.
    c_B1D: its condition.
    weights: what `decode` takes that does not change from token to token.
    dtype: of the tokens.
  """

  block: nn.Module
  variables: Mapping[str, Any]
  c_B1D: Array
  weights: Any
  dtype: jnp.dtype

  def parallel(self, x_BNC):
    """See `solvers.Conditioner`."""
    return self.block.apply(self.variables, x_BNC, self.c_B1D, method="parallel")

  def decode(self, previous_BMC, caches, index):
    """See `solvers.Conditioner`."""
    return self.block.apply(self.variables, self.weights, previous_BMC, caches, index, self.dtype,
                            method="decode")

  def init_caches(self, batch_size, length):
    """See `solvers.Conditioner`."""
    return stack.init_caches(self.block.config, batch_size, length, self.block.dtype)
