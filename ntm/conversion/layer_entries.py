"""Table entries of the modules that PyTorch checkpoints are made of.

`layers` is the number of layers of a stacked leaf, as in `mapping.Entry`; the
source name then has an "{i}".
"""

from collections.abc import Mapping

import flax.linen as nn
import jax

from ntm.conversion import mapping
from ntm.conversion.mapping import Entry, Transform


def then(first: Transform, second: Transform) -> Transform:
  """Theirs → ours by `first`, then `second`."""
  return Transform(lambda a: second.forward(first.forward(a)),
                   lambda a: first.backward(second.backward(a)))


def patch_channels(channels: int, patch_size: int) -> Transform:
  """The last axis of patches: (channels, rows, columns) ↔ (rows, columns, channels)."""
  area = patch_size ** 2

  def swap(a, shape):
    return a.reshape(*a.shape[:-1], *shape).swapaxes(-1, -2).reshape(a.shape)

  return Transform(lambda a: swap(a, (channels, area)), lambda a: swap(a, (area, channels)))


def linear(source: str, target: str, outputs: tuple[int, ...] = (), *,
           inputs: tuple[int, ...] = (), layers: int = 0,
           rows: tuple[int, int] | None = None) -> list[Entry]:
  """A Linear with bias ↔ our `layers.dense`.

  Args:
    source: name of the module.
    target: path of ours.
    outputs: axes that our kernel has for the output; () is one.
    inputs: axes that our kernel has for the input; () is one.
    layers: of a stacked leaf.
    rows: part of the source's outputs, if it feeds several of ours.

  Raises:
    ValueError: several axes on both sides.
  """
  if inputs and outputs:
    raise ValueError(f"{source}: several axes on one side of the kernel, not both")
  kernel = mapping.linear_from(*inputs) if inputs else mapping.linear(*outputs)
  bias = mapping.reshape((-1,), outputs) if outputs else mapping.KEEP
  return [Entry(f"{source}.weight", f"{target}/kernel", kernel, rows, layers),
          Entry(f"{source}.bias", f"{target}/bias", bias, rows, layers)]


def layer_norm(source: str, target: str, layers: int = 0) -> list[Entry]:
  """A LayerNorm with gain and bias ↔ nn.LayerNorm."""
  return [Entry(f"{source}.weight", f"{target}/scale", layers=layers),
          Entry(f"{source}.bias", f"{target}/bias", layers=layers)]


def fused_attention(source: str, target: str, width: int, num_heads: int,
                    layers: int = 0) -> list[Entry]:
  """`qkv`, its rows being all heads of q, then of k, then of v, and `proj` ↔ our Attention."""
  heads = (num_heads, width // num_heads)
  parts = [linear(f"{source}.qkv", f"{target}/{name}", heads, layers=layers,
                  rows=(i * width, (i + 1) * width))
           for i, name in enumerate(("query", "key", "value"))]
  return sum(parts, []) + linear(f"{source}.proj", f"{target}/out", inputs=heads, layers=layers)


def count(shapes: mapping.Shapes, name: str) -> int:
  """How many of name.format(i=0), name.format(i=1), ... there are."""
  number = 0
  while name.format(i=number) in shapes:
    number += 1
  return number


def leaf_shapes(init, *args) -> Mapping[str, tuple[int, ...]]:
  """Shapes of a module's parameters by path, from its init and the inputs to it."""
  params = nn.unbox(jax.eval_shape(init, jax.random.key(0), *args))["params"]
  leaves, _ = jax.tree_util.tree_flatten_with_path(params)
  return {"/".join(key.key for key in path): leaf.shape for path, leaf in leaves}
