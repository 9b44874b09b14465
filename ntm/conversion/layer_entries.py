"""Entries of common PyTorch layers.

Of every function, `source` is the name of a PyTorch module, `target` the path of ours, and
`layers` the length of a stacked leaf, whose source name has an "{i}", as in `mapping.Entry`.
"""

from ntm.conversion import transforms
from ntm.conversion.mapping import Entry


def linear(source: str, target: str, outputs: tuple[int, ...] = (), *,
           inputs: tuple[int, ...] = (), layers: int = 0,
           rows: tuple[int, int] | None = None) -> list[Entry]:
  """A Linear with bias ↔ a dense layer with a kernel [*inputs, *outputs].

  Args:
    source: as above.
    target: as above.
    outputs: axes of the output in our kernel and bias; () is one.
    inputs: axes of the input in our kernel; () is one.
    layers: as above.
    rows: part of the source's outputs, if it feeds several leaves.
  """
  bias = transforms.reshape((-1,), outputs) if outputs else transforms.KEEP
  return [Entry(f"{source}.weight", f"{target}/kernel", transforms.linear(outputs, inputs), rows,
                layers),
          Entry(f"{source}.bias", f"{target}/bias", bias, rows, layers)]


def conv(source: str, target: str) -> list[Entry]:
  """A Conv2d with bias ↔ nn.Conv."""
  return [Entry(f"{source}.weight", f"{target}/kernel", transforms.CONV),
          Entry(f"{source}.bias", f"{target}/bias")]


def norm(source: str, target: str, layers: int = 0) -> list[Entry]:
  """A LayerNorm or GroupNorm with gain and bias ↔ nn.LayerNorm or nn.GroupNorm."""
  return [Entry(f"{source}.weight", f"{target}/scale", layers=layers),
          Entry(f"{source}.bias", f"{target}/bias", layers=layers)]


def fused_attention(source: str, target: str, width: int, num_heads: int,
                    layers: int = 0) -> list[Entry]:
  """`qkv`, with the rows of all heads of q, then k, then v, and `proj` ↔ our Attention."""
  heads, entries = (num_heads, width // num_heads), []
  for i, name in enumerate(("query", "key", "value")):
    entries += linear(f"{source}.qkv", f"{target}/{name}", heads, layers=layers,
                      rows=(i * width, (i + 1) * width))
  return entries + linear(f"{source}.proj", f"{target}/out", inputs=heads, layers=layers)
