import itertools
import types
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ntm.config import MeshConfig
from ntm.nn import partitioning


def _mesh():
  return Mesh(np.asarray(jax.devices()).reshape(2, 2, 2), partitioning.AXES,
              axis_types=partitioning.AXIS_TYPES)


class AxesTest(absltest.TestCase):

  def test_within_a_step_activations_are_split_as_the_table_says(self):
    mesh = _mesh()

    def step(x):
      with partitioning.activations(mesh):
        return partitioning.constrain(x, "batch", None, "heads", None)

    whole = NamedSharding(mesh, PartitionSpec())
    out = jax.jit(step, in_shardings=whole)(jnp.zeros((8, 3, 4, 5)))
    self.assertEqual(out.addressable_shards[0].data.shape, (2, 3, 2, 5))

  def test_what_the_mesh_does_not_split_evenly_stays_whole(self):
    mesh = _mesh()

    def step(x):
      with partitioning.activations(mesh):
        return partitioning.constrain(x, "batch", None, "heads", None)

    whole = NamedSharding(mesh, PartitionSpec())
    out = jax.jit(step, in_shardings=whole)(jnp.zeros((7, 3, 4, 5)))
    self.assertEqual(out.addressable_shards[0].data.shape, (7, 3, 2, 5))

  def test_elsewhere_nothing_happens(self):
    jaxpr = jax.make_jaxpr(lambda x: partitioning.constrain(x, "batch", None))(jnp.zeros((8, 3)))
    self.assertEmpty(jaxpr.jaxpr.eqns)


def _tpus(shape, slices=1):
  """Devices as those of v5p slices: four on a host, in the order of their hosts."""
  hosts = (shape[0] // 2, shape[1] // 2, shape[2])
  devices = []
  for slice_index, host in itertools.product(range(slices), np.ndindex(*hosts)):
    for x, y in itertools.product(range(2), range(2)):
      devices.append(types.SimpleNamespace(
          id=len(devices), platform="tpu", device_kind="TPU v5", core_on_chip=0,
          slice_index=slice_index, process_index=len(devices) // 4,
          coords=(2 * host[0] + x, 2 * host[1] + y, host[2])))
  return devices


def _arrangement(devices, *sizes, slices=-1):
  """The devices on the mesh of these sizes; `Mesh` itself takes no stand-ins."""
  with mock.patch.object(partitioning, "Mesh", lambda devices, axes, axis_types: devices):
    return partitioning.make_mesh(MeshConfig(*sizes, slices), devices)


class MeshTest(parameterized.TestCase):

  def _assert_blocks(self, groups):
    """Every group is a box of chips that lie together."""
    for group in groups:
      coords = np.array([device.coords for device in group])
      self.assertEqual(np.prod(np.ptp(coords, axis=0) + 1), len(coords), coords)

  @parameterized.parameters((8, 8, 1), (1, -1, 1), (-1, 4, 4))
  def test_what_exchanges_most_lies_together_in_the_torus(self, *sizes):
    devices = _arrangement(_tpus((4, 4, 4)), *sizes)
    self.assertLen({device.id for device in devices.flat}, 64)
    self._assert_blocks(devices.reshape(-1, devices.shape[2]))
    self._assert_blocks(devices.transpose(0, 2, 1).reshape(-1, devices.shape[1]))

  @parameterized.parameters(((1, -1, 1), (2, 16, 1)), ((-1, 4, 2), (4, 4, 2)))
  def test_slices_split_the_batch_alone(self, sizes, shape):
    tpus = _tpus((4, 4, 1), slices=2)
    devices = _arrangement(list(np.random.default_rng(0).permutation(tpus)), *sizes)
    self.assertEqual(devices.shape, shape)
    for i, part in enumerate(np.split(devices, 2)):
      self.assertEqual({device.slice_index for device in part.flat}, {i})

  def test_other_devices_stay_in_order(self):
    mesh = partitioning.make_mesh(MeshConfig(-1, 2, 2))
    self.assertEqual(mesh.devices.ravel().tolist(), jax.devices())
    mesh = partitioning.make_mesh(MeshConfig(1, -1, 1, slices=4))
    self.assertEqual(dict(mesh.shape), {"data": 4, "fsdp": 2, "tensor": 1})
    self.assertEqual(mesh.devices.ravel().tolist(), jax.devices())

  def test_mistakes_are_named(self):
    for sizes, slices, message in (
        ((3, 1, 1), -1, r"= \(3, 1, 1\) do not multiply to the number of devices, 8; change"),
        ((8, 1, 1), 2, r"= \(8, 1, 1\) .* devices of each of 2 slices, 4; change"),
        ((-1, 1, 1), 3, "mesh.slices is 3, which does not divide the 8 devices; expected")):
      with self.assertRaisesRegex(ValueError, message):
        partitioning.make_mesh(MeshConfig(*sizes, slices))
    with self.assertRaisesRegex(ValueError, "mesh.slices is 1, but the devices are 2 slices"):
      _arrangement(_tpus((2, 2, 1), slices=2), -1, 1, 1, slices=1)


def _rows(devices, batch_size, process):
  """`batch_rows` on a process."""
  mesh = types.SimpleNamespace(
      devices=devices, shape=dict(zip(partitioning.AXES, devices.shape)))
  with mock.patch.object(jax, "process_index", lambda: process):
    return partitioning.batch_rows(mesh, batch_size)


class BatchRowsTest(parameterized.TestCase):

  @parameterized.parameters((8, 8, 1), (1, 64, 1), (16, 2, 2), (4, 4, 4), (2, 4, 8))
  def test_every_process_reads_the_rows_that_its_devices_hold(self, *sizes):
    devices = _arrangement(_tpus((4, 4, 4)), *sizes)
    ways = sizes[0] * sizes[1]
    holders = [set() for _ in range(3 * ways)]
    for process in range(16):
      for row in _rows(devices, 3 * ways, process):
        holders[row].add(process)
    for row, found in enumerate(holders):
      expected = {device.process_index for device in devices.reshape(ways, -1)[row // 3]}
      self.assertEqual(found, expected)

  def test_parts_that_overlap_are_refused(self):
    devices = [types.SimpleNamespace(process_index=i // 2) for i in range(6)]
    with self.assertRaisesRegex(ValueError, "hold other parts of a batch .* change config.mesh"):
      _rows(np.array(devices).reshape(2, 1, 3), 6, 0)


if __name__ == "__main__":
  absltest.main()
