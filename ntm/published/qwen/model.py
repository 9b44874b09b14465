"""Decoder-only Transformers of Qwen3 and of the text side of Qwen2.5-VL, as text encoders.

With h_0 the token embeddings, layer l = 1, ..., L gives

  a   = h_{l-1} + Attention(RMSNorm(h_{l-1}))
  h_l = a + W_down (silu(W_gate RMSNorm(a)) * W_up RMSNorm(a)),

causal and with rotary positions. The features of a token are the h_l of chosen layers side by
side. Only h_L has passed the final norm: that is the indexing of `hidden_states` in
Hugging Face transformers. The readout of the language model is not here.

With text alone the three position axes of Qwen2.5-VL (time, row, column) are equal, so its
rotation is the ordinary one.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from ntm.nn import attention, kernels, layers, rotary, stack
from ntm.nn.numerics import Numerics
from ntm.nn.partitioning import constrain
from ntm.typing import Array

KLEIN_HIDDEN_STATES = (9, 18, 27)  # What the FLUX.2 [klein] Transformers read.


@dataclasses.dataclass(frozen=True)
class QwenConfig:
  """Sizes of a Qwen Transformer.

  Attributes:
    vocab_size: rows of the embedding table; token ids are below it.
    width: D.
    layers: L of the whole model.
    num_heads: H.
    num_kv_heads: heads of keys and values, a divisor of H.
    head_width: E, even; H E may differ from D.
    mlp_width: F of the feed-forward layer.
    qk_norm: RMS-normalise queries and keys per head (Qwen3).
    qkv_bias: biases of queries, keys and values (Qwen2.5-VL).
    theta: pair i of a head turns by theta^(-2i/E) per position.
    eps: of all norms.

  Raises:
    ValueError: heads that num_kv_heads does not divide, or a head width that is odd.
  """

  vocab_size: int
  width: int
  layers: int
  num_heads: int
  num_kv_heads: int
  head_width: int
  mlp_width: int
  qk_norm: bool
  qkv_bias: bool
  theta: float = 1e6
  eps: float = 1e-6

  def __post_init__(self):
    if self.num_heads % self.num_kv_heads:
      raise ValueError(f"num_kv_heads={self.num_kv_heads} does not divide num_heads="
                       f"{self.num_heads}; set num_heads to a multiple of it.")
    if self.head_width % 2:
      raise ValueError(f"head_width={self.head_width} is odd; rotary positions need pairs of "
                       "channels.")


QWEN3_4B = QwenConfig(
    vocab_size=151936, width=2560, layers=36, num_heads=32, num_kv_heads=8, head_width=128,
    mlp_width=9728, qk_norm=True, qkv_bias=False)
QWEN3_8B = dataclasses.replace(QWEN3_4B, width=4096, mlp_width=12288)
QWEN2_5_VL_7B = QwenConfig(
    vocab_size=152064, width=3584, layers=28, num_heads=28, num_kv_heads=4, head_width=128,
    mlp_width=18944, qk_norm=False, qkv_bias=True)


class Qwen(nn.Module):
  """Hidden states of chosen layers; has parameters up to the last of them alone.

  Attributes:
    config: sizes of the whole model.
    hidden_states: which h_l, 0 for the embeddings, in the order of the features.
    numerics: types, rematerialisation; norms and softmax are in float32 at least.
  """

  config: QwenConfig
  hidden_states: tuple[int, ...]
  numerics: Numerics = Numerics()

  @nn.compact
  def __call__(self, ids_BM: Array, mask_BM: Array | None = None) -> Array:
    """Features of every token, padding included.

    Position m is the place in the row, padding counted. A padded token is not attended to but
    has features of its own, those of a token that reads the text before it. Before any text
    (padding on the left) it reads nothing: its attention gives zero.

    Args:
      ids_BM: token ids, integers below the vocabulary size; not checked, since jit hides them, see
        `ntm.data.prompts.Tokens.check_vocabulary`.
      mask_BM: True or 1 for tokens, False or 0 for padding; None is no padding.

    Returns:
      [B, M, D len(hidden_states)].

    Raises:
      ValueError: hidden states that the model does not have, ids that are not integers, or a
        mask of another shape.
    """
    config, numerics = self.config, self.numerics
    depth = _depth(config, self.hidden_states)
    if not jnp.issubdtype(ids_BM.dtype, jnp.integer):
      raise ValueError(f"token ids have type {ids_BM.dtype}; expected integers.")
    if mask_BM is not None and mask_BM.shape != ids_BM.shape:
      raise ValueError(f"the mask {list(mask_BM.shape)} must have the shape of the token ids, "
                       f"{list(ids_BM.shape)}.")
    init = nn.with_logical_partitioning(nn.initializers.normal(0.02), (None, "embed"))
    table = self.param("embed", init, (config.vocab_size, config.width), numerics.param_dtype)
    # Whole for the lookup, as in `ntm.nn.embeddings.LabelEmbedding`.
    table = constrain(jnp.asarray(table, numerics.dtype), None, None)
    x_BMD = constrain(table[ids_BM], "batch", None, None)
    found = tuple(x_BMD for _ in self.hidden_states)
    if depth:
      scan = stack.over_depth(_Layer, depth, (0, nn.broadcast, nn.broadcast), numerics)
      angles_ME = _angles(ids_BM.shape[1], config)
      (x_BMD, found), _ = scan(config, self.hidden_states, numerics, name="layers")(
          (x_BMD, found), jnp.arange(1, depth + 1), angles_ME, mask_BM)
    if depth == config.layers:
      last_BMD = _norm(config, numerics, None, "norm")(x_BMD)
      found = tuple(last_BMD if place == depth else h_BMD
                    for place, h_BMD in zip(self.hidden_states, found))
    return jnp.concatenate(found, axis=-1)


def first_layers(params: Mapping[str, Any], config: QwenConfig,
                 hidden_states: Sequence[int]) -> dict[str, Any]:
  """The parameters of `Qwen(config, hidden_states)` among those of the whole model.

  Args:
    params: of all layers, as `ntm convert` writes them.
    config: sizes of the whole model.
    hidden_states: as in `Qwen`.

  Raises:
    ValueError: hidden states that the model does not have.
  """
  depth = _depth(config, hidden_states)
  chosen = {"embed": params["embed"]}
  if depth:
    chosen["layers"] = jax.tree.map(lambda a: a[:depth], params["layers"])
  if depth == config.layers:
    chosen["norm"] = params["norm"]
  return chosen


class _Layer(nn.Module):
  """One layer, which keeps its output where it is a chosen one."""

  config: QwenConfig
  hidden_states: tuple[int, ...]
  numerics: Numerics

  @nn.compact
  def __call__(self, carry, index, angles_ME, mask_BM):
    """((x_BMD, chosen hidden states), None), as nn.scan wants it; `index` is l."""
    (x_BMD, found), config, numerics = carry, self.config, self.numerics
    x_BMD = constrain(x_BMD, "batch", None, None)
    h_BMD = _norm(config, numerics, None, "attention_norm")(x_BMD)
    x_BMD += _Attention(config, numerics, name="attention")(h_BMD, angles_ME, mask_BM)
    h_BMD = _norm(config, numerics, None, "mlp_norm")(x_BMD)
    x_BMD += _Mlp(config, numerics, name="mlp")(h_BMD)
    # In the carry: as outputs of the scan, all layers would be kept.
    found = tuple(jnp.where(index == place, x_BMD, h_BMD)
                  for place, h_BMD in zip(self.hidden_states, found))
    return (x_BMD, found), None


class _Attention(nn.Module):
  """softmax(q k' / sqrt(E)) v over the tokens so far, without those that are padding."""

  config: QwenConfig
  numerics: Numerics

  @nn.compact
  def __call__(self, x_BMD, angles_ME, mask_BM):
    config, types = self.config, self.numerics.types

    def project(num_heads, name):
      a_BMHE = layers.dense((num_heads, config.head_width), ("embed", "heads", "head_width"),
                            use_bias=config.qkv_bias, name=name, **types)(x_BMD)
      return constrain(a_BMHE, "batch", None, "heads", None)

    def place(a_BMHE, name):
      if config.qk_norm:
        a_BMHE = _norm(config, self.numerics, "head_width", name)(a_BMHE)
      return rotary.rotate(a_BMHE, angles_ME)

    query = place(project(config.num_heads, "query"), "query_norm")
    key = place(project(config.num_kv_heads, "key"), "key_norm")
    value = project(config.num_kv_heads, "value")
    out_BMHE = kernels.attend(query, key, value, causal=True) if mask_BM is None else None
    if out_BMHE is None:
      length = x_BMD.shape[1]
      seen = np.tril(np.ones((1, 1, length, length), bool))
      if mask_BM is not None:
        seen = seen & (mask_BM[:, None, None, :] != 0)
      out_BMHE = attention.dot_product_attention(query, key, value, jnp.asarray(seen))
      if mask_BM is not None:  # A softmax over nothing is uniform there, and zero in PyTorch.
        out_BMHE = jnp.where(seen.any(axis=-1)[:, 0, :, None, None], out_BMHE, 0)
    out_BMHE = checkpoint_name(out_BMHE, "attention")
    return layers.dense(config.width, ("heads", "head_width", "embed"), axis=(-2, -1),
                        use_bias=False, name="out", **types)(out_BMHE)


class _Mlp(nn.Module):
  """SwiGLU: (silu(x W_gate) * x W_up) W_down."""

  config: QwenConfig
  numerics: Numerics

  @nn.compact
  def __call__(self, x_BMD):
    def dense(features, axes, name):
      return layers.dense(features, axes, use_bias=False, name=name, **self.numerics.types)

    gate_BMF, up_BMF = (dense(self.config.mlp_width, ("embed", "mlp"), name)(x_BMD)
                        for name in ("gate", "up"))
    h_BMF = constrain(nn.silu(gate_BMF) * up_BMF, "batch", None, "mlp")
    return dense(self.config.width, ("mlp", "embed"), "down")(h_BMF)


def _norm(config, numerics, axis, name):
  return layers.rms_norm(axis, epsilon=config.eps, name=name, **numerics.types)


def _angles(length, config):
  """Rotary angles [M, E/2], rounded to float32 where transformers rounds them."""
  half = config.head_width // 2
  frequencies = np.float32(config.theta ** (-np.arange(half) / half))
  return np.arange(length, dtype=np.float32)[:, None] * frequencies


def _depth(config: QwenConfig, hidden_states: Sequence[int]) -> int:
  """Number of layers to compute."""
  if not hidden_states or not all(0 <= place <= config.layers for place in hidden_states):
    raise ValueError(f"hidden_states is {tuple(hidden_states)}; expected numbers from 0 (the "
                     f"embeddings) to {config.layers}, the number of layers.")
  return max(hidden_states)
