"""Logical axes of parameters and activations, and the mesh axes that split them.

Modules name logical axes and know no mesh. A step that is traced within
`ntm.training.sharding.activations` splits its activations by the same table as
the parameters; elsewhere `constrain` does nothing.
"""

import flax.linen as nn

from ntm.typing import Array

RULES = (
    ("batch", ("data", "fsdp")),
    ("embed", "fsdp"),
    ("heads", "tensor"),
    ("mlp", "tensor"),
    ("head_width", None),
    ("layers", None),
)


def constrain(x: Array, *axes: str | None) -> Array:
  """The same activation, split over the mesh in use as the table says.

  Args:
    x: an activation.
    axes: its logical axes: 'batch', 'heads', 'mlp', or None for one that is whole.
  """
  return nn.with_logical_constraint(x, axes, rules=RULES)
