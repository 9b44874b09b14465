"""Coupling blocks: parallel both ways, with activations rebuilt from outputs.

A block keeps half of the tokens and transforms the other half by means and
scales that a Transformer reads off the kept ones:

  u_b = (x_b - mu(x_a)) / sigma(x_a),  u_a = x_a,   log det = -sum log sigma,

and the next block exchanges the halves. The inverse costs what the forward
direction does, where an autoregressive block needs one pass per token; a block is
the weaker for it. In place of the affine map there may be another one of
`ntm.flows.elementwise`.

The chain is reversible: its backward pass recovers the input of every block from
its output, so the memory of training does not grow with the number of blocks.
As in the autoregressive block, the readout starts at zero (the identity), the
log-scale is bounded by b tanh(raw / b), and arithmetic of the map is float32 or
better. Features of the noisier state, if there are any, are projected and added to
every token, kept or not.
"""

import functools
import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ntm.config import TransformerConfig
from ntm.flows import bijector, elementwise
from ntm.nn import embeddings, layers, rotary, stack
from ntm.nn.numerics import Numerics
from ntm.typing import Array, Condition


class CouplingChain(nn.Module):
  """Coupling blocks that take turns in the tokens they keep, a bijector.

  Attributes:
    transformer: depth, width, heads of each block's network.
    num_blocks: blocks, at least 1.
    grid_shape: tokens along every spatial axis; N is their product.
    num_channels: C.
    num_classes: classes it is conditioned on; 0 does not read the class.
    split: which tokens are kept, 'checkerboard' or 'halves'.
    maps: which map the networks give the parameters of.
    reversible: rebuild activations in the backward pass instead of storing them.
    numerics: types, rematerialisation.
  """

  transformer: TransformerConfig
  num_blocks: int
  grid_shape: tuple[int, ...]
  num_channels: int
  num_classes: int = 0
  split: str = "checkerboard"
  maps: elementwise.Maps = elementwise.Maps()
  reversible: bool = True
  numerics: Numerics = Numerics()

  def setup(self):
    """Makes the parameters of all blocks, stacked along a first axis."""
    self.chain = _Stacked(self._init_blocks)

  def forward_and_log_det(self, x_BNC: Array, cond: Condition) -> tuple[Array, Array]:
    """All blocks in order: (u_BNC, -sum log sigma)."""
    run = _rebuilt if self.reversible else _forward
    u_BNC, log_det_B, diagnostics = run(self._block(), self.chain(cond), x_BNC, cond)
    bijector.report(self, **diagnostics)
    return u_BNC, log_det_B

  def inverse_and_log_det(self, u_BNC: Array, cond: Condition) -> tuple[Array, Array]:
    """All blocks undone, last first: (x_BNC, +sum log sigma)."""
    block = self._block()

    def undo(carry, inputs):
      u_BNC, log_det_B = carry
      x_BNC, term_B = block.inverse(*inputs, u_BNC, cond)
      return (x_BNC, log_det_B + term_B), None

    start = (u_BNC, jnp.zeros(u_BNC.shape[0], u_BNC.dtype))
    return jax.lax.scan(undo, start, _numbered(self.chain(cond)), reverse=True)[0]

  def maps_at(self, x_BNC: Array, cond: Condition, index: int) -> elementwise.Map:
    """The map of every entry in block `index`, given the tokens that it keeps."""
    params = jax.tree.map(lambda a: a[index], self.chain(cond))
    return self._block().apply({"params": params}, x_BNC, cond, index)

  def _block(self):
    return _Block(self.transformer, self.grid_shape, self.num_channels, self.num_classes,
                  self.split, self.maps, self.numerics, parent=None)

  def _init_blocks(self, rng, cond):
    example = jnp.zeros((1, math.prod(self.grid_shape), self.num_channels))
    one = jnp.ones(1, jnp.int32)
    features = cond.features_BNF
    cond = Condition(jnp.zeros(1), num_steps_B=None if cond.num_steps_B is None else one,
                     label_B=one,
                     features_BNF=None if features is None else jnp.zeros((1, *features.shape[1:])))
    init = lambda rng: self._block().init(rng, example, cond, 0)["params"]
    stacked = jax.vmap(init)(jax.random.split(rng, self.num_blocks))
    return nn.meta.add_axis(stacked, 0, {nn.PARTITION_NAME: "blocks"})


class _Stacked(nn.Module):
  """The parameters of all blocks; a module because checkpoints have them at chain/blocks."""

  init: Callable

  @nn.compact
  def __call__(self, cond):
    return self.param("blocks", self.init, cond)


class _Block(nn.Module):
  """The map of block number `index`, the identity for tokens that it keeps."""

  transformer: TransformerConfig
  grid_shape: tuple[int, ...]
  num_channels: int
  num_classes: int
  split: str
  maps: elementwise.Maps
  numerics: Numerics

  @nn.compact
  def __call__(self, x_BNC, cond, index):
    width, numerics, types = self.transformer.width, self.numerics, self.numerics.types
    kept_N1 = self.kept(index)
    h_BND = layers.dense(width, (None, "embed"), name="embed", **types)(
        jnp.where(kept_N1, x_BNC, 0).astype(numerics.dtype))
    init = nn.with_logical_partitioning(nn.initializers.normal(0.02), ("embed",))
    hidden_D = self.param("hidden", init, (width,), numerics.param_dtype)
    h_BND = jnp.where(kept_N1, h_BND, hidden_D.astype(numerics.dtype))
    h_BND = embeddings.PositionEmbedding(numerics, name="position")(h_BND, x_BNC.shape[1])
    if cond.features_BNF is not None:
      h_BND += layers.dense(width, (None, "embed"), name="features", **types)(
          cond.features_BNF.astype(numerics.dtype))
    c_BD = embeddings.ScalarEmbedding(width, numerics=numerics, name="time")(cond.time_B)
    if cond.num_steps_B is not None:
      c_BD += embeddings.ScalarEmbedding(width, numerics=numerics, name="steps")(
          1.0 / cond.num_steps_B.astype(cond.time_B.dtype))
    if self.num_classes:
      c_BD += embeddings.LabelEmbedding(self.num_classes, width, numerics, name="label")(
          cond.label_B)
    angles_ME = rotary.rotary_angles(rotary.grid_positions(self.grid_shape),
                                     width // self.transformer.num_heads)
    h_BND = stack.Stack(self.transformer, numerics=numerics, name="stack")(
        h_BND, c_BD[:, None], angles_ME)
    h_BND = layers.rms_norm("embed", name="norm", **types)(h_BND)
    raw_BNPC = layers.dense(
        (self.maps.num_parameters, self.num_channels), ("embed", None, None), zero=True,
        name="readout", **types)(h_BND).astype(x_BNC.dtype)
    return self.maps.read(jnp.where(kept_N1[..., None], 0, raw_BNPC))

  def kept(self, index):
    """True for the tokens block `index` reads and leaves alone, [N, 1]."""
    if self.split == "halves":
      number = math.prod(self.grid_shape)
      first_N = np.arange(number) < number // 2
    else:
      first_N = rotary.grid_positions(self.grid_shape).sum(axis=1) % 2 == 0
    return (jnp.asarray(first_N) ^ (index % 2 == 1))[:, None]

  @nn.nowrap
  def forward(self, index, params, x_BNC, cond):
    """(u_BNC, log_det_B, diagnostics)."""
    maps = self.apply({"params": params}, x_BNC, cond, index)
    u_BNC, log_slope_BNC = maps.forward(x_BNC)
    return u_BNC, log_slope_BNC.sum(axis=(1, 2)), maps.diagnostics(x_BNC)

  @nn.nowrap
  def inverse(self, index, params, u_BNC, cond):
    """(x_BNC, log_det_B)."""
    # The kept tokens are all that the network reads, and they are the same in u.
    x_BNC, log_slope_BNC = self.apply({"params": params}, u_BNC, cond, index).inverse(u_BNC)
    return x_BNC, log_slope_BNC.sum(axis=(1, 2))


def _numbered(params):
  return jnp.arange(jax.tree.leaves(params)[0].shape[0]), params


def _forward(block, params, x_BNC, cond):
  """All blocks, activations stored for the backward pass as usual."""
  def step(carry, inputs):
    x_BNC, log_det_B = carry
    u_BNC, term_B, diagnostics = block.forward(*inputs, x_BNC, cond)
    return (u_BNC, log_det_B + term_B), diagnostics

  start = (x_BNC, jnp.zeros(x_BNC.shape[0], x_BNC.dtype))
  (u_BNC, log_det_B), diagnostics = jax.lax.scan(step, start, _numbered(params))
  return u_BNC, log_det_B, diagnostics


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _rebuilt(block, params, x_BNC, cond):
  """The same, storing the output alone."""
  return _forward(block, params, x_BNC, cond)


def _rebuilt_forward(block, params, x_BNC, cond):
  out = _forward(block, params, x_BNC, cond)
  return out, (params, out[0], cond)


def _rebuilt_backward(block, residuals, cotangents):
  params, u_BNC, cond = residuals
  grad_u_BNC, grad_log_det_B, _ = cotangents
  features = cond.features_BNF  # None has no gradient, and as a tree no leaf.

  def step(carry, inputs):
    """One block, the last first."""
    u_BNC, grad_u_BNC, grad_features = carry
    index, block_params = inputs
    # The network reads the kept tokens alone, the same in x and u: one pass of it gives both the
    # inverse and what the gradients need.
    maps, network_vjp = jax.vjp(
        lambda p, u, features: block.apply(
            {"params": p}, u, cond.replace(features_BNF=features), index),
        block_params, u_BNC, features)
    x_BNC, _ = maps.inverse(u_BNC)
    _, map_vjp = jax.vjp(lambda maps, x: maps.forward(x), maps, x_BNC)
    grad_maps, grad_x_BNC = map_vjp(
        (grad_u_BNC, jnp.broadcast_to(grad_log_det_B[:, None, None], u_BNC.shape)))
    grad_params, grad_kept_BNC, more = network_vjp(grad_maps)
    carry = (x_BNC, grad_x_BNC + grad_kept_BNC, jax.tree.map(jnp.add, grad_features, more))
    return carry, grad_params

  start = (u_BNC, grad_u_BNC, jax.tree.map(jnp.zeros_like, features))
  (_, grad_x_BNC, grad_features), grad_params = jax.lax.scan(
      step, start, _numbered(params), reverse=True)
  # Levels and labels are not learned.
  return grad_params, grad_x_BNC, Condition(features_BNF=grad_features)


_rebuilt.defvjp(_rebuilt_forward, _rebuilt_backward)
