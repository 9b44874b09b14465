"""Attention by the accelerator's own kernels, which do not form the matrix of scores.

cuDNN's on a GPU, through `jax.nn.dot_product_attention`, and splash attention on
a TPU. Which device a program is for is that of the mesh it is traced for, and
without one that of this process. Where no kernel applies, and on a CPU, `attend`
says so.
"""

import functools
import math

import jax
import jax.numpy as jnp

from ntm.nn.partitioning import per_device
from ntm.typing import Array

_SPLASH_LENGTH = 1024  # For shorter ones it moves less memory, but has not been timed on a chip.
_SPLASH_BLOCKS = (512, 256, 128)


def attend(query_BMHE: Array, key_BMHE: Array, value_BMHE: Array, causal: bool,
           when: str = "auto") -> Array | None:
  """softmax(q k' / sqrt(E)) v over a whole sequence, or None where no kernel applies.

  Args:
    query_BMHE: queries.
    key_BMHE: keys, of as many heads or a divisor of them.
    value_BMHE: values, likewise.
    causal: each token attends to itself and those before it.
    when: 'always' takes a kernel wherever it can run, that is in half precision with heads of a
      multiple of 8 up to 128 on a GPU, and with lengths of multiples of 128 on a TPU; 'auto' does
      so but on a TPU for sequences shorter than 1,024 and heads of no multiple of 128; 'never'
      takes none.
  """
  if when == "never":
    return None
  length, head_width = query_BMHE.shape[1], query_BMHE.shape[3]
  platform = _platform()
  if platform in ("gpu", "cuda"):
    half = query_BMHE.dtype in (jnp.bfloat16, jnp.float16)
    if half and head_width % 8 == 0 and head_width <= 128:
      return jax.nn.dot_product_attention(query_BMHE, key_BMHE, value_BMHE, is_causal=causal,
                                          implementation="cudnn")
  elif platform == "tpu" and length % 128 == 0 and (
      when == "always" or length >= _SPLASH_LENGTH and head_width % 128 == 0):
    return per_device(functools.partial(splash, causal=causal), query_BMHE, key_BMHE, value_BMHE)
  return None


def splash(query_BMHE: Array, key_BMHE: Array, value_BMHE: Array, causal: bool,
           interpret: bool = False) -> Array:
  """Splash attention on one device; `interpret` runs it without a TPU."""
  from jax.experimental.pallas.ops.tpu.splash_attention import (
      splash_attention_kernel as kernels,
  )
  from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks
  length, num_heads = query_BMHE.shape[1:3]
  block = next(size for size in _SPLASH_BLOCKS if length % size == 0)
  names = ("block_q", "block_kv", "block_kv_compute", "block_q_dkv", "block_kv_dkv",
           "block_kv_dkv_compute", "block_q_dq", "block_kv_dq")
  kind = masks.CausalMask if causal else masks.FullMask
  kernel = kernels.make_splash_mha(
      masks.MultiHeadMask([kind((length, length))] * num_heads), head_shards=1, q_seq_shards=1,
      block_sizes=kernels.BlockSizes(**dict.fromkeys(names, block)), interpret=interpret)
  query_BMHE = query_BMHE / math.sqrt(query_BMHE.shape[3])
  heads_first = [jnp.swapaxes(a, 1, 2) for a in (query_BMHE, key_BMHE, value_BMHE)]
  return jnp.swapaxes(jax.vmap(kernel)(*heads_first), 1, 2)


def _platform() -> str:
  mesh = jax.sharding.get_abstract_mesh()
  return jax.default_backend() if mesh.empty else mesh.abstract_device.platform
