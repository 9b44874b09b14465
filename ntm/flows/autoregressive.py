"""The autoregressive affine block (TarFlow).

A causal Transformer reads tokens 0 .. n-1 and a condition and gives the mean
and log-scale of token n:

  u_n = (x_n - mu_n) / sigma_n,   log det = -sum_n log sigma_n.            [2.6]

Forward (data → latent) is parallel. The inverse x_n = mu_n + sigma_n u_n goes
token by token: a `lax.scan` with a static key/value cache, one compile.

The inputs are shifted right behind a learned start token, so the first token
too has a learnable mean and scale. The output projection starts at zero,
kernel and bias, so the block starts as the identity. The log-scale is bounded,
log sigma = b tanh(raw / b), and the affine arithmetic is float32 or better
whatever the network computes in.
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from ntm.config import TransporterConfig
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
    self.stack = stack.Stack(config, remat=self.remat, unroll=self.unroll, **types)
    self.norm = nn.RMSNorm(**types)
    self.readout = layers.dense((2, self.num_channels), ("embed", None, None), zero=True, **types)

  def forward_and_log_det(self, x_BNC: Array, cond: Condition) -> tuple[Array, Array]:
    """All tokens at once: (u_BNC, -sum log sigma) [2.6]."""
    h_BND = self.embed(x_BNC[:, :-1].astype(self.dtype))
    start_B1D = self._start(x_BNC.shape[0])
    h_BND = self.position(jnp.concatenate([start_B1D, h_BND], axis=1), self._num_tokens)
    causal = np.tril(np.ones((self._num_tokens, self._num_tokens), bool))[None, None]
    h_BND, _ = self.stack(h_BND, self._condition(cond), self._angles(), causal)
    mean_BNC, log_scale_BNC = self._affine(h_BND, x_BNC.dtype)
    self.sow("diagnostics", "log_scale", jnp.stack([log_scale_BNC.min(), log_scale_BNC.max()]))
    return (x_BNC - mean_BNC) * jnp.exp(-log_scale_BNC), -log_scale_BNC.sum(axis=(1, 2))

  def inverse_and_log_det(self, u_BNC: Array, cond: Condition) -> tuple[Array, Array]:
    """Token after token with a key/value cache: (x_BNC, +sum log sigma)."""
    c_B1D = self._condition(cond)
    angles_ME = jnp.asarray(self._angles())

    def decode(block, carry, inputs):
      h_B1D, cache, log_det_B = carry
      index, u_BC = inputs
      h_B1D = block.position(h_B1D, block._num_tokens, index)
      h_B1D, cache = block.stack(h_B1D, c_B1D, angles_ME[index][None], cache=cache, index=index)
      mean_B1C, log_scale_B1C = block._affine(h_B1D, u_BC.dtype)
      x_B1C = u_BC[:, None] * jnp.exp(log_scale_B1C) + mean_B1C
      log_det_B = log_det_B + log_scale_B1C.sum(axis=(1, 2))
      return (block.embed(x_B1C.astype(block.dtype)), cache, log_det_B), x_B1C[:, 0]

    batch_size = u_BNC.shape[0]
    carry = (self._start(batch_size), self.stack.init_cache(batch_size, self._num_tokens),
             jnp.zeros(batch_size, u_BNC.dtype))
    scan = nn.scan(decode, variable_broadcast="params", split_rngs={"params": False},
                   out_axes=1)
    (_, _, log_det_B), x_BNC = scan(
        self, carry, (jnp.arange(self._num_tokens), jnp.moveaxis(u_BNC, 1, 0)))
    return x_BNC, log_det_B

  @property
  def _num_tokens(self) -> int:
    return int(np.prod(self.grid_shape))

  def _angles(self):
    return rotary.rotary_angles(rotary.grid_positions(self.grid_shape),
                                self.config.width // self.config.num_heads)

  def _start(self, batch_size):
    start_D = jnp.asarray(self.start, self.dtype)
    return jnp.broadcast_to(start_D, (batch_size, 1, self.config.width))

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
