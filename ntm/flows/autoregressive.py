"""The autoregressive block (TarFlow).

A causal Transformer reads tokens 0 .. n-1 and a condition and gives the mean
and log-scale of token n:

  u_n = (x_n - mu_n) / sigma_n,   log det = -sum_n log sigma_n.            [2.6]

Forward (data → latent) is parallel. The inverse x_n = mu_n + sigma_n u_n is
sequential by nature: `ntm.flows.solvers`. In place of the affine map there may be
another one of `ntm.flows.elementwise`, whose parameters the network gives likewise.

The inputs are shifted right behind a learned start token, so the first token
too has a learnable mean and scale. The output projection starts at zero,
kernel and bias, so the block starts as the identity. The log-scale is bounded,
log sigma = b tanh(raw / b), and the arithmetic of the map is float32 or better
independent of the network's compute type.

The channels of a token are mapped independently given the tokens before, unless
`channels` gives them an order too: `ntm.flows.channels`.

Features of the noisier state, if there are any, are projected and added token by
token: that of token n where mu_n and sigma_n are read out. They do not depend on
x, so the block stays causal in x.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ntm.config import InverseConfig, TransformerConfig
from ntm.flows import bijector, elementwise, solvers
from ntm.flows.channels import ChannelHead, OrderedMap
from ntm.nn import embeddings, layers, rotary, stack
from ntm.nn.numerics import Numerics
from ntm.typing import Array, Condition


class AutoregressiveBlock(nn.Module):
  """One autoregressive bijector over the tokens, in the order given.

  Attributes:
    transformer: depth, width, heads.
    grid_shape: tokens along every spatial axis; N is their product.
    num_channels: C.
    num_classes: classes it is conditioned on; 0 does not read the class.
    maps: which map its network gives the parameters of.
    channels: 'independent' given the tokens before, or each also reads those before it in
      'ascending' or 'descending' order.
    numerics: types, rematerialisation.
    inverse: how the inverse is computed.
  """

  transformer: TransformerConfig
  grid_shape: tuple[int, ...]
  num_channels: int
  num_classes: int = 0
  maps: elementwise.Maps = elementwise.Maps()
  channels: Literal["independent", "ascending", "descending"] = "independent"
  numerics: Numerics = Numerics()
  inverse: InverseConfig = InverseConfig()

  def setup(self):
    """Makes the submodules."""
    width, numerics, types = self.transformer.width, self.numerics, self.numerics.types
    self.embed = layers.dense(width, (None, "embed"), **types)
    self.start = self.param(
        "start", nn.with_logical_partitioning(nn.initializers.normal(0.02), ("embed",)),
        (width,), numerics.param_dtype)
    self.position = embeddings.PositionEmbedding(numerics)
    self.time = embeddings.ScalarEmbedding(width, numerics=numerics)
    self.steps = embeddings.ScalarEmbedding(width, numerics=numerics)
    self.label = embeddings.LabelEmbedding(self.num_classes, width, numerics)
    self.features = layers.dense(width, (None, "embed"), **types)
    self.stack = stack.Stack(self.transformer, causal=True, numerics=numerics)
    self.norm = layers.rms_norm("embed", **types)
    self.readout = layers.dense((self.maps.num_parameters, self.num_channels),
                                ("embed", None, None), zero=True, **types)
    self.head = ChannelHead(self.maps, self.num_channels, self.channels == "descending", numerics)

  def forward_and_log_det(self, x_BNC: Array, cond: Condition) -> tuple[Array, Array]:
    """All tokens at once: (u_BNC, -sum log sigma if affine) [2.6]."""
    maps = self.maps_at(x_BNC, cond)
    bijector.report(self, **maps.diagnostics(x_BNC))
    u_BNC, log_slope_BNC = maps.forward(x_BNC)
    return u_BNC, log_slope_BNC.sum(axis=(1, 2))

  def maps_at(self, x_BNC: Array, cond: Condition) -> elementwise.Map:
    """The map of every entry, given all entries that it reads."""
    maps = self.parallel(x_BNC, self._condition(cond))
    return maps.given(x_BNC) if isinstance(maps, OrderedMap) else maps

  def inverse_and_log_det(self, u_BNC: Array, cond: Condition) -> tuple[Array, Array]:
    """By the solver of the config: (x_BNC, +sum log sigma if affine)."""
    c_B1D, features_BND = condition = self._condition(cond)
    weights = (self.stack.decoding_weights(c_B1D), features_BND)
    net = BoundBlock(self.clone(parent=None), self.variables, condition, weights, u_BNC.dtype)
    x_BNC, log_det_B, info = solvers.invert(net, u_BNC, self.inverse)
    self.sow("diagnostics", "inverse", info)
    return x_BNC, log_det_B

  def parallel(self, x_BNC: Array, condition: tuple) -> elementwise.Map | OrderedMap:
    """The map of all tokens."""
    c_B1D, features_BND = condition
    h_BND = self.embed(x_BNC[:, :-1].astype(self.numerics.dtype))
    start_B1D = jnp.broadcast_to(jnp.asarray(self.start, self.numerics.dtype),
                                 (x_BNC.shape[0], 1, self.transformer.width))
    h_BND = self.position(jnp.concatenate([start_B1D, h_BND], axis=1), self._num_tokens)
    if features_BND is not None:
      h_BND += features_BND
    return self._map(self.stack(h_BND, c_B1D, self._angles()), x_BNC.dtype)

  def decode(self, weights: tuple, previous_BMC: Array, caches: list, index: Array, dtype):
    """(map, caches) of the tokens from `index` on, see `solvers`."""
    weights, features_BND = weights
    positions_M = index + jnp.arange(previous_BMC.shape[1])
    h_BMD = self.embed(previous_BMC.astype(self.numerics.dtype))
    start_D = jnp.asarray(self.start, self.numerics.dtype)
    h_BMD = jnp.where(positions_M[:, None] == 0, start_D, h_BMD)
    h_BMD = self.position(h_BMD, self._num_tokens, positions_M)
    if features_BND is not None:
      h_BMD += jax.lax.dynamic_slice_in_dim(features_BND, index, h_BMD.shape[1], axis=1)
    angles_ME = jnp.asarray(self._angles())[positions_M]
    h_BMD, caches = self.stack.decode(weights, h_BMD, angles_ME, caches, index)
    return self._map(h_BMD, dtype), caches

  @nn.nowrap
  def init_caches(self, batch_size: int, length: int) -> list:
    """Empty caches for `decode`, see `solvers`."""
    return stack.init_caches(self.transformer, batch_size, length, self.numerics.dtype)

  @property
  def _num_tokens(self) -> int:
    return int(np.prod(self.grid_shape))

  def _angles(self):
    return rotary.rotary_angles(rotary.grid_positions(self.grid_shape),
                                self.transformer.width // self.transformer.num_heads)

  def _condition(self, cond: Condition) -> tuple[Array, Array | None]:
    """(the vector that modulates the layers, what is added to every token or None)."""
    c_BD = self.time(cond.time_B)
    if cond.num_steps_B is not None:
      c_BD += self.steps(1.0 / cond.num_steps_B.astype(cond.time_B.dtype))
    if self.num_classes:
      c_BD += self.label(cond.label_B)
    features_BND = None
    if cond.features_BNF is not None:
      features_BND = self.features(cond.features_BNF.astype(self.numerics.dtype))
    return c_BD[:, None], features_BND

  def _map(self, h_BMD, dtype):
    h_BMD = self.norm(h_BMD)
    raw_BMPC = self.readout(h_BMD).astype(dtype)
    if self.channels == "independent":
      return self.maps.read(raw_BMPC)
    return self.head(h_BMD, raw_BMPC)


@dataclasses.dataclass(frozen=True)
class BoundBlock:
  """A block with parameters and condition filled in: `solvers.Conditioner`.

  Calls an unbound copy of the block, which may be traced inside loops.

  Attributes:
    block: has `parallel`, `decode` and `init_caches` as `AutoregressiveBlock` does.
    variables: its parameters.
    condition: what its `parallel` takes besides the tokens.
    weights: what `decode` takes that does not change from token to token.
    dtype: of the tokens.
  """

  block: nn.Module
  variables: Mapping[str, Any]
  condition: Any
  weights: Any
  dtype: jnp.dtype

  def parallel(self, x_BNC):
    """See `solvers.Conditioner`."""
    return self.block.apply(self.variables, x_BNC, self.condition, method="parallel")

  def decode(self, previous_BMC, caches, index):
    """See `solvers.Conditioner`."""
    return self.block.apply(self.variables, self.weights, previous_BMC, caches, index, self.dtype,
                            method="decode")

  def init_caches(self, batch_size, length):
    """See `solvers.Conditioner`."""
    return self.block.init_caches(batch_size, length)
