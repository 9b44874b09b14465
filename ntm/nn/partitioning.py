"""Which axes of parameters and activations are split over which axes of the mesh.

Modules name logical axes and know no mesh; RULES maps logical axes to mesh axes. A run
always has a mesh, of one device if need be, so one device and many run the same program.
A step that is traced within `activations(mesh)` splits its activations by the same rules
as the parameters; elsewhere `constrain` does nothing.
"""

import contextlib
import math
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import numpy as np
from jax.experimental import mesh_utils
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


def whole(tree):
  """Parameters that a loop reads over and over, gathered before it; elsewhere the same."""
  if jax.sharding.get_abstract_mesh().empty:
    return tree
  return jax.tree.map(lambda a: jax.lax.with_sharding_constraint(a, PartitionSpec()), tree)


def splits_parameters() -> bool:
  """Whether the mesh in use splits parameters along `fsdp`."""
  mesh = jax.sharding.get_abstract_mesh()
  return not mesh.empty and mesh.shape["fsdp"] > 1


def gathered(tree, boxed_tree):
  """As `whole`, but still split along `tensor`.

  Args:
    tree: parameters, within a mesh.
    boxed_tree: the same tree with their logical axis names.
  """
  rules = tuple((name, None if axis == "fsdp" else axis) for name, axis in RULES)
  specs = nn.logical_to_mesh(nn.get_partition_spec(boxed_tree), rules)
  return jax.tree.map(jax.lax.with_sharding_constraint, tree, specs)


def make_mesh(config: MeshConfig, devices=None) -> Mesh:
  """The mesh over all devices, axes (data, fsdp, tensor).

  The sizes are those within a slice, and slices follow each other along `data`: what the other
  axes exchange stays in a slice. Within a slice of TPUs neighbours on an axis are neighbours in its
  torus, as far as its shape allows.

  Args:
    config: the sizes.
    devices: those of JAX by default.

  Raises:
    ValueError: sizes that do not multiply to the devices of a slice, or another number of slices
      than the devices have.
  """
  slices = by_slice(config.slices, jax.devices() if devices is None else devices)
  count = len(slices[0])
  sizes = [config.data, config.fsdp, config.tensor]
  if -1 in sizes:
    rest = math.prod(n for n in sizes if n != -1)
    sizes[sizes.index(-1)] = count // rest
  if math.prod(sizes) != count:
    asked = (config.data, config.fsdp, config.tensor)
    needs = "divide" if -1 in asked else "multiply to"
    where = f" of each of {len(slices)} slices" if len(slices) > 1 else ""
    raise ValueError(f"the sizes of mesh (data, fsdp, tensor) = {asked} do not {needs} the number "
                     f"of devices{where}, {count}; change config.mesh (--mesh of `ntm sample`), "
                     "where one -1 takes what is left.")
  return Mesh(np.concatenate([_arranged(part, sizes) for part in slices]), AXES,
              axis_types=AXIS_TYPES)


def by_slice(asked: int, devices: Sequence) -> list[list]:
  """The devices by slice: TPUs of one interconnect, elsewhere `asked` equal parts in order.

  Args:
    asked: config.mesh.slices.
    devices: all.

  Raises:
    ValueError: another number than TPUs have, or one that does not divide other devices.
  """
  if devices[0].platform == "tpu":
    index = lambda device: getattr(device, "slice_index", 0)
    parts = [[device for device in devices if index(device) == i]
             for i in sorted(set(map(index, devices)))]
    if asked not in (-1, len(parts)):
      raise ValueError(f"config.mesh.slices is {asked}, but the devices are {len(parts)} slices; "
                       f"expected {len(parts)}, or -1 for as many as there are.")
    return parts
  size, rest = divmod(len(devices), max(asked, 1))
  if rest:
    raise ValueError(f"config.mesh.slices is {asked}, which does not divide the {len(devices)} "
                     "devices; expected a divisor, or -1 for one slice.")
  return [list(devices[i:i + size]) for i in range(0, len(devices), size)]


def _arranged(devices: list, sizes: list[int]) -> np.ndarray:
  """The devices of a slice, [data, fsdp, tensor]."""
  if devices[0].platform == "tpu":
    return mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
  return np.asarray(devices).reshape(sizes)


def batch_rows(mesh: Mesh, batch_size: int) -> np.ndarray:
  """The rows of a global batch that the devices of this process hold, ascending.

  Processes that share devices of `tensor` hold the same rows.

  Raises:
    ValueError: processes with parts of the batch that are neither the same nor apart.
  """
  parts = {}
  for part, devices in enumerate(mesh.devices.reshape(-1, mesh.shape["tensor"])):
    for device in devices:
      parts.setdefault(device.process_index, set()).add(part)
  held = {frozenset(found) for found in parts.values()}
  ways = mesh.devices.size // mesh.shape["tensor"]
  if sum(map(len, held)) != ways or len(set(map(len, held))) > 1:
    raise ValueError(f"the processes hold other parts of a batch each, but not apart from one "
                     f"another, on the mesh {dict(mesh.shape)}; change config.mesh, so that "
                     "mesh.tensor divides the devices of a process or is a multiple of them.")
  each = batch_size // ways
  mine = sorted(parts[jax.process_index()])
  return np.concatenate([np.arange(part * each, (part + 1) * each) for part in mine])


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
  """This process's `batch_rows` of a global batch, as arrays split over the mesh."""
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
