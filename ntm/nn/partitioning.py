"""Which axes of parameters and activations are split over which axes of the mesh.

Modules name logical axes and know no mesh; RULES maps logical axes to mesh axes. A run
always has a mesh, of one device if need be, so one device and many run the same program.
A step that is traced within `activations(mesh)` splits its activations by the same rules
as the parameters; elsewhere `constrain` does nothing.
"""

import contextlib
import math
from collections.abc import Callable

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ntm.config import MeshConfig
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
AXES = ("data", "fsdp", "tensor")
AXIS_TYPES = (AxisType.Auto,) * len(AXES)  # XLA splits what `constrain` leaves open.


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
    asked = (config.data, config.fsdp, config.tensor)
    needs = "divide" if -1 in asked else "multiply to"
    raise ValueError(f"the sizes of mesh (data, fsdp, tensor) = {asked} do not {needs} the number "
                     f"of devices, {len(devices)}; change config.mesh, where one -1 takes what is "
                     "left.")
  return Mesh(np.asarray(devices).reshape(sizes), AXES, axis_types=AXIS_TYPES)


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """Splits the first axis of a batch over data and fsdp."""
  return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


@contextlib.contextmanager
def activations(mesh: Mesh):
  """While a step is traced within: activations are split over the mesh too."""
  # Not flax's own context of rules: within it, flax also constrains what
  # `nn.DenseGeneral` initialises, whose kernel then still has another rank.
  with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
    yield


def replicated(mesh: Mesh) -> NamedSharding:
  """A copy on every device."""
  return NamedSharding(mesh, PartitionSpec())


def from_logical(mesh: Mesh, boxed_tree):
  """NamedShardings of a tree whose leaves carry logical axis names."""
  specs = nn.get_partition_spec(boxed_tree)
  return nn.logical_to_mesh_sharding(specs, mesh, RULES)


def in_pieces(mesh: Mesh, boxed_tree):
  """Abstract arrays of a tree whose leaves carry logical axis names; errors as `split`."""
  return split(mesh, nn.unbox(boxed_tree), from_logical(mesh, boxed_tree))


def split(mesh: Mesh, shapes, shardings):
  """Abstract arrays of these shapes and shardings.

  Raises:
    ValueError: an axis of an array that the mesh does not split evenly.
  """
  def one(path, a, s):
    for axis, names in enumerate(s.spec):
      ways = int(np.prod([mesh.shape[name] for name in jax.tree.leaves(names)]))
      if a.shape[axis] % ways:
        where = "/".join(str(getattr(key, "key", getattr(key, "name", key))) for key in path)
        raise ValueError(
            f"{where} has shape {a.shape}, whose axis {axis} is not divisible by the "
            f"{ways} devices of mesh axis {names!r}; change the mesh, or the width or heads of "
            "the model.")
    return jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s)

  return jax.tree_util.tree_map_with_path(one, shapes, shardings)


def check_batch(batch_size: int, accumulation: int, mesh: Mesh) -> None:
  """Raises ValueError unless every device gets equally many examples."""
  ways = mesh.shape["data"] * mesh.shape["fsdp"]
  if (batch_size // accumulation) % ways:
    raise ValueError(
        f"batch_size {batch_size} in {accumulation} accumulation steps is not divisible by "
        f"data x fsdp = {ways} devices; change train.batch_size, train.grad_accumulation_steps "
        "or mesh.")


def from_host(array, sharding: NamedSharding) -> jax.Array:
  """An array that every process has, each device getting its own part of it.

  Always a copy: what is donated to a step must not be anyone else's.
  """
  array = np.asarray(array)
  return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index].copy())


def put_batch(mesh: Mesh, batch):
  """This process's slice of a global batch, as arrays split over the mesh."""
  sharding = batch_sharding(mesh)
  return jax.tree.map(
      lambda a: jax.make_array_from_process_local_data(sharding, np.asarray(a)), batch)


def per_device(kernel: Callable, *arrays: Array) -> Array | None:
  """Runs a kernel on the examples and heads of each device, which XLA cannot split itself.

  Args:
    kernel: arrays → an array, all [B, M, H, E].
    arrays: queries, keys and values.

  Returns:
    The result, or None if the mesh does not split the examples or heads evenly.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty:
    return kernel(*arrays)
  batch, heads = dict(RULES)["batch"], dict(RULES)["heads"]
  ways = int(np.prod([mesh.shape[name] for name in batch]))
  if arrays[0].shape[0] % ways or any(a.shape[2] % mesh.shape[heads] for a in arrays):
    return None
  spec = PartitionSpec(batch, None, heads, None)
  return jax.shard_map(kernel, in_specs=spec, out_specs=spec, check_vma=False)(*arrays)
