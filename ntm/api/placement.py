"""Where a restored model samples and scores: on the default device, or split over a mesh."""

import contextlib
import math
from typing import Any

import jax

from ntm.api import batching
from ntm.config import Config, MeshConfig
from ntm.losses import flow_matching, inputs, task
from ntm.losses.inputs import Frozen
from ntm.nn import partitioning
from ntm.training import multihost
from ntm.training import state as state_lib


class Placement:
  """Puts parameters and batches where they belong; all processes call its methods."""

  def __init__(self, mesh: MeshConfig | None = None):
    """Sizes of the mesh over all devices; None for the default device.

    Raises:
      ValueError: something else than a MeshConfig, or sizes that do not multiply to the number of
        devices.
    """
    if not isinstance(mesh, MeshConfig | None):
      raise ValueError(f"mesh is {mesh!r}; expected None or a MeshConfig, as in "
                       "ntm.restore(WORKDIR, mesh=ntm.config.MeshConfig(2, 2, 2)).")
    self._mesh = None if mesh is None else partitioning.make_mesh(mesh)

  def abstract_params(self, config: Config) -> Any:
    """Shapes and shardings of a model's parameters; None for the default device.

    Raises:
      ValueError: a parameter that the mesh does not split evenly.
    """
    if self._mesh is None:
      return None
    make = flow_matching.velocity if config.model.kind == "flow_matching" else task.density
    return state_lib.abstract_params(make(config).init, self._mesh)

  def load_frozen(self, config: Config) -> Frozen | None:
    """The frozen networks of a run, split as all parameters are; errors as `inputs.load`."""
    frozen = inputs.load(config, mesh=self._mesh)
    return jax.device_put(frozen) if self._mesh is None else frozen

  def put_copies(self, tree: Any) -> Any:
    """Parameters from the host, whole on every device."""
    if self._mesh is None:
      return jax.device_put(tree)
    copies = partitioning.replicated(self._mesh)
    return jax.tree.map(lambda leaf: partitioning.from_host(leaf, copies), tree)

  def put_batch(self, tree: Any) -> Any:
    """Rows of arrays, split over the devices where they divide evenly, and whole elsewhere."""
    if self._mesh is None:
      return tree
    split, copies = partitioning.batch_sharding(self._mesh), partitioning.replicated(self._mesh)

    def put(a):
      """One array, which is the same on every process."""
      sharding = copies if len(a) % self._ways() else split
      return (jax.device_put(a, sharding) if isinstance(a, jax.Array)
              else partitioning.from_host(a, sharding))

    return jax.tree.map(put, tree)

  def batch_size(self, count: int) -> int:
    """Images at a time: a multiple of the devices that a batch is split over."""
    return -(-min(count, batching.SIZE) // self._ways()) * self._ways()

  def activations(self) -> contextlib.AbstractContextManager:
    """While a program is traced within: its activations are split too."""
    return (contextlib.nullcontext() if self._mesh is None
            else partitioning.activations(self._mesh))

  def to_host(self, tree: Any) -> Any:
    """Arrays of all devices as NumPy."""
    return multihost.to_host(tree)

  def _ways(self):
    """Devices that a batch is split over."""
    return 1 if self._mesh is None else math.prod(self._mesh.shape[a] for a in ("data", "fsdp"))
