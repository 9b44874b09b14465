"""Logical axes of parameters and activations, and the mesh axes that split them.

Modules name logical axes and know no mesh. A step that is traced within
`ntm.training.sharding.activations` splits its activations by the same table as
the parameters; elsewhere `constrain` does nothing.
"""

import math

import flax.linen as nn
import jax
from jax.sharding import PartitionSpec

from ntm.typing import Array

RULES = (
    ("batch", ("data", "fsdp")),
    ("embed", "fsdp"),
    ("heads", "tensor"),
    ("mlp", "tensor"),
    ("head_width", None),
    ("layers", None),
    ("blocks", None),  # Stacked blocks of stacked layers: an axis may be named once per array.
)


def constrain(x: Array, *axes: str | None) -> Array:
  """The same activation, split over the mesh in use as the table says.

  An axis that the mesh does not split evenly stays whole, as in a last, shorter
  batch of held-out images.

  Args:
    x: an activation.
    axes: its logical axes: 'batch', 'heads', 'mlp', or None for one that is whole.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty:
    return x

  def whole_if_uneven(size, names):
    names = (names,) if isinstance(names, str) else names or ()
    return names if size % math.prod(mesh.shape[name] for name in names) == 0 else None

  mesh_axes = nn.logical_to_mesh_axes(axes, RULES)
  return jax.lax.with_sharding_constraint(
      x, PartitionSpec(*map(whole_if_uneven, x.shape, mesh_axes)))
