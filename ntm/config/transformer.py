"""The section that describes a stack of Transformer layers, with what it must satisfy."""

import dataclasses

from ntm.config.checking import require


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
  """One stack of Transformer layers.

  Attributes:
    layers: depth.
    width: D, divisible by num_heads; the head width D / num_heads is even.
    num_heads: H, query heads.
    num_kv_heads: key/value heads, a divisor of num_heads.
    mlp_ratio: feed-forward width over D.
  """

  layers: int = 4
  width: int = 128
  num_heads: int = 4
  num_kv_heads: int = 4
  mlp_ratio: int = 4


def check_transformer(where: str, part: TransformerConfig, axes: int) -> None:
  """Raises ValueError unless the sizes of a TransformerConfig fit together.

  Args:
    where: key of the section, such as "model.predictor".
    part: the section.
    axes: spatial axes of the tokens, each of which takes a pair of a head's entries.
  """
  require(part.layers >= 1, f"{where}.layers", part.layers, "at least 1")
  require(part.mlp_ratio >= 1, f"{where}.mlp_ratio", part.mlp_ratio, "at least 1")
  require(part.num_heads >= 1 and part.width >= 1
          and part.width % (2 * part.num_heads) == 0, f"{where}.num_heads",
          part.num_heads, f"a number that divides the width {part.width} into even head widths")
  require(part.num_kv_heads >= 1 and part.num_heads % part.num_kv_heads == 0,
          f"{where}.num_kv_heads", part.num_kv_heads,
          f"a divisor of num_heads {part.num_heads}")
  require(part.width // part.num_heads >= 2 * axes, f"{where}.num_heads", part.num_heads,
          f"head widths of at least {2 * axes} for {axes} rotary axes")
