"""TarFlow as published (arXiv 2412.06329): an exact density of images, a transporter alone.

Blocks of causal Transformer layers, odd ones scanning from the last token to the
first. In a block, with (alpha_n, mu_n) read off the tokens before n,

  u_0 = x_0,   u_n = (x_n - mu_n) exp(-alpha_n),   log det = -sum alpha,

and u / sqrt(var) after the last block is standard normal; `var` is one unless the
blocks keep volume. Against `flows.autoregressive`: no start token, so the first
token is copied; learned positions alone; layer norms with gain and bias, no
QK-norm; alpha is not bounded; the class is added to every token.

The original reports the log-det as a mean over the entries; ours is the sum, in
nats. A TarFlow is fitted to one small noise level and does not read it: the time of
the condition is not read.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from ntm.config import InverseConfig
from ntm.flows import bijector, solvers
from ntm.flows.autoregressive import BoundBlock
from ntm.flows.elementwise import Affine
from ntm.nn import attention, embeddings, layers, stack
from ntm.nn.numerics import Numerics
from ntm.typing import Array, Condition


@dataclasses.dataclass(frozen=True)
class TarFlowConfig:
  """Shapes of a TarFlow.

  Attributes:
    num_blocks: blocks.
    layers: depth of a block.
    width: D.
    num_heads: H.
    num_tokens: N.
    patch_size: side of a patch.
    image_channels: of the image.
    mlp_ratio: feed-forward width over D.
    num_classes: classes; 0 is unconditional.
    scales: blocks scale tokens; else they only shift them and alpha is zero.
  """

  num_blocks: int
  layers: int
  width: int
  num_heads: int
  num_tokens: int
  patch_size: int
  image_channels: int = 3
  mlp_ratio: int = 4
  num_classes: int = 0
  scales: bool = True

  @property
  def num_channels(self) -> int:
    """C of a token."""
    return self.patch_size ** 2 * self.image_channels

  @property
  def num_kv_heads(self) -> int:
    """Heads of keys and values: all."""
    return self.num_heads


class TarFlow(nn.Module):
  """The whole flow, a bijector between images and a standard normal.

  Attributes:
    config: shapes.
    numerics: types, rematerialisation; affine arithmetic is in the tokens' type, float32
      or better.
    inverse: how the inverse is computed.
  """

  config: TarFlowConfig
  numerics: Numerics = Numerics()
  inverse: InverseConfig = InverseConfig()

  def setup(self):
    """Makes the submodules."""
    bijectors = []
    for i in range(self.config.num_blocks):
      block = TarFlowBlock(self.config, self.numerics, self.inverse, name=f"block_{i}")
      bijectors += [block] if i % 2 == 0 else [bijector.Flip(), block, bijector.Flip()]
    self.chain = bijector.Chain(bijectors)
    self.var = self.param(
        "var", nn.initializers.ones_init(), (self.config.num_tokens, self.config.num_channels),
        self.numerics.param_dtype)

  def forward_and_log_det(self, x_BNC: Array, cond: Condition) -> tuple[Array, Array]:
    """Tokens → standard normal ones, all at once.

    Args:
      x_BNC: tokens of `ntm.nn.patchify`, data in [-1, 1].
      cond: label_B is read if the model has classes; None, or an index outside
        them such as -1 or `num_classes`, is the null class.
    """
    u_BNC, log_det_B = self.chain.forward_and_log_det(x_BNC, cond)
    log_scale_NC = self._log_scale(x_BNC.dtype)
    return u_BNC * jnp.exp(-log_scale_NC), log_det_B - log_scale_NC.sum()

  def inverse_and_log_det(self, u_BNC: Array, cond: Condition) -> tuple[Array, Array]:
    """Standard normal tokens → data, by the solver of `inverse`; arguments as above."""
    log_scale_NC = self._log_scale(u_BNC.dtype)
    x_BNC, log_det_B = self.chain.inverse_and_log_det(u_BNC * jnp.exp(log_scale_NC), cond)
    return x_BNC, log_det_B + log_scale_NC.sum()

  def _log_scale(self, dtype):
    # A running average of u^2 in the original, not a learned parameter.
    return 0.5 * jnp.log(jax.lax.stop_gradient(self.var).astype(dtype))


class TarFlowBlock(nn.Module):
  """One affine autoregressive bijector over the tokens, in the order given.

  Attributes:
    config: shapes.
    numerics: types, rematerialisation.
    inverse: how the inverse is computed.
  """

  config: TarFlowConfig
  numerics: Numerics = Numerics()
  inverse: InverseConfig = InverseConfig()

  def setup(self):
    """Makes the submodules."""
    config, types = self.config, self.numerics.types
    self.embed = layers.dense(config.width, (None, "embed"), **types)
    self.position = embeddings.PositionEmbedding(self.numerics)
    if config.num_classes:
      init = nn.with_logical_partitioning(nn.initializers.normal(0.01), (None, "embed"))
      self.label = self.param("label", init, (config.num_classes, config.width),
                              self.numerics.param_dtype)
    layer = stack.over_depth(_Layer, config.layers, (), self.numerics)
    self.layers = layer(config, self.numerics)
    self.readout = layers.dense((1 + config.scales, config.num_channels), ("embed", None, None),
                                zero=True, **types)

  def forward_and_log_det(self, x_BNC: Array, cond: Condition) -> tuple[Array, Array]:
    """All tokens at once: (u_BNC, -sum alpha)."""
    maps = self.parallel(x_BNC, self._condition(cond))
    bijector.report(self, **maps.diagnostics(x_BNC))
    u_BNC, log_slope_BNC = maps.forward(x_BNC)
    return u_BNC, log_slope_BNC.sum(axis=(1, 2))

  def inverse_and_log_det(self, u_BNC: Array, cond: Condition) -> tuple[Array, Array]:
    """By the solver of `inverse`: (x_BNC, +sum alpha)."""
    c_B1D = self._condition(cond)
    # Cut into layers once, before the loop over tokens.
    params = self.variables["params"]["layers"]
    cut = [jax.tree.map(lambda a, i=i: a[i], params) for i in range(self.config.layers)]
    net = BoundBlock(self.clone(parent=None), self.variables, c_B1D, (cut, c_B1D), u_BNC.dtype)
    x_BNC, log_det_B, info = solvers.invert(net, u_BNC, self.inverse)
    self.sow("diagnostics", "inverse", info)
    return x_BNC, log_det_B

  def parallel(self, x_BNC: Array, c_B1D: Array) -> Affine:
    """The map of all tokens, of mean mu and log-scale alpha."""
    h_BND = self.embed(x_BNC.astype(self.numerics.dtype))
    h_BND = self.position(h_BND, self.config.num_tokens) + c_B1D
    h_BND, _ = self.layers(h_BND)
    return self._affine(h_BND, True, x_BNC.dtype)

  def decode(self, weights: tuple, previous_BMC: Array, caches: list, index: Array, dtype):
    """(map, caches) of the tokens from `index` on, see `solvers`.

    Token n is read off position n - 1, so the caches hold position n - 1 when
    token n is done. There is none before token 0: a call at index 0 runs one
    position ahead, the last of them a stand-in that the next call overwrites,
    and shifts what it reads by one as `parallel` does.
    """
    layer_params, c_B1D = weights
    first = index == 0
    inputs_BMC = jnp.where(first, jnp.roll(previous_BMC, -1, axis=1), previous_BMC)
    start = jnp.maximum(index - 1, 0)
    rows_M = start + jnp.arange(previous_BMC.shape[1])
    h_BMD = self.embed(inputs_BMC.astype(self.numerics.dtype))
    h_BMD = self.position(h_BMD, self.config.num_tokens, rows_M) + c_B1D
    layer = _Layer(self.config, self.numerics, parent=None)
    caches = list(caches)
    for i, params in enumerate(layer_params):
      h_BMD, caches[i] = layer.apply({"params": params}, h_BMD, caches[i], start)
    return self._affine(h_BMD, first, dtype), caches

  @nn.nowrap
  def init_caches(self, batch_size: int, length: int) -> list:
    """Empty caches for `decode`, see `solvers`."""
    return stack.init_caches(self.config, batch_size, length, self.numerics.dtype)

  def _condition(self, cond):
    if not self.config.num_classes:
      return jnp.zeros((1, 1, self.config.width), self.numerics.dtype)
    label_CD = jnp.asarray(self.label, self.numerics.dtype)
    null_D = label_CD.mean(axis=0)
    if cond.label_B is None:
      return null_D[None, None]
    known_B = (cond.label_B >= 0) & (cond.label_B < self.config.num_classes)
    return jnp.where(known_B[:, None], label_CD[cond.label_B], null_D)[:, None]

  def _affine(self, h_BMD, first, dtype):
    """Of mean mu and log-scale alpha; if `first`, every position's are those of the next token."""
    raw = self.readout(h_BMD).astype(dtype)
    shifted = jnp.concatenate([jnp.zeros_like(raw[:, :1]), raw[:, :-1]], axis=1)
    raw = jnp.where(first, shifted, raw)
    mean = raw[..., -1, :]
    return Affine(mean, raw[..., 0, :] if self.config.scales else jnp.zeros_like(mean))


class _Layer(nn.Module):
  """One pre-norm layer of a block: (h_BMD, cache) → the same."""

  config: TarFlowConfig
  numerics: Numerics

  @nn.compact
  def __call__(self, h_BMD, cache=None, index=None):

    def norm(name):
      return nn.LayerNorm(epsilon=1e-5, use_fast_variance=False, name=name,
                          **self.numerics.types)

    branch_BMD, cache = attention.Attention(
        self.config.num_heads, self.config.num_heads, causal=True, qk_norm=False,
        numerics=self.numerics, name="attention")(
            norm("attention_norm")(h_BMD), None, None, cache, index)
    h_BMD += branch_BMD
    mlp = layers.Mlp(self.config.mlp_ratio, exact=True, numerics=self.numerics, name="mlp")
    return h_BMD + mlp(norm("mlp_norm")(h_BMD)), cache
