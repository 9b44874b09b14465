"""The one file that knows meshes and PartitionSpecs.

Modules name logical axes; `RULES` maps them to mesh axes. A run always has a
mesh, of one device if need be, so one device and many run the same program.
"""

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ntm.config import MeshConfig

AXES = ("data", "fsdp", "tensor")
RULES = (
    ("embed", "fsdp"),
    ("mlp", "tensor"),
    ("heads", "tensor"),
    ("head_width", None),
    ("layers", None),
)


def make_mesh(config: MeshConfig, devices=None) -> Mesh:
  """The mesh over all devices, axes (data, fsdp, tensor).

  Raises:
    ValueError: sizes that do not multiply to the number of devices.
  """
  devices = jax.devices() if devices is None else devices
  sizes = [config.data, config.fsdp, config.tensor]
  if -1 in sizes:
    rest = int(np.prod([n for n in sizes if n != -1]))
    sizes[sizes.index(-1)] = len(devices) // rest
  if int(np.prod(sizes)) != len(devices):
    raise ValueError(f"mesh (data, fsdp, tensor) = {tuple(sizes)} needs {int(np.prod(sizes))} "
                     f"devices, but there are {len(devices)}; set one axis to -1 to fill.")
  return Mesh(np.asarray(devices).reshape(sizes), AXES)


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """Splits the first axis of a batch over data and fsdp."""
  return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def replicated(mesh: Mesh) -> NamedSharding:
  """A copy on every device."""
  return NamedSharding(mesh, PartitionSpec())


def from_logical(mesh: Mesh, boxed_tree):
  """NamedShardings of a tree whose leaves carry logical axis names."""
  specs = nn.get_partition_spec(boxed_tree)
  return nn.logical_to_mesh_sharding(specs, mesh, RULES)


def check_batch(batch_size: int, accumulation: int, mesh: Mesh) -> None:
  """Raises ValueError unless every device gets equally many examples."""
  ways = mesh.shape["data"] * mesh.shape["fsdp"]
  if (batch_size // accumulation) % ways:
    raise ValueError(
        f"batch_size {batch_size} in {accumulation} accumulation rounds is not divisible by "
        f"data x fsdp = {ways} devices; change train.batch_size, train.accumulation or mesh.")


def put_batch(mesh: Mesh, batch):
  """This process's slice of a global batch, as arrays split over the mesh."""
  sharding = batch_sharding(mesh)
  return jax.tree.map(
      lambda a: jax.make_array_from_process_local_data(sharding, np.asarray(a)), batch)
