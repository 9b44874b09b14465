"""Axes of collectives on eight devices, and links of slices that need not exist."""

import types

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ntm.performance import accelerators, interconnect
from tests.helpers import tpu_text

_AXES = ("slices", "data", "fsdp", "tensor")
_V5E, _V5P = accelerators.lookup("TPU v5 lite"), accelerators.lookup("TPU v5p")


def _psum(axes, shape, devices=None, chip=None):
  """What a sum over some axes of a mesh of eight devices sends, of 1,024 bytes per device."""
  mesh = Mesh(np.asarray(jax.devices()).reshape(shape), _AXES)
  run = jax.shard_map(lambda x: jax.lax.psum(x, axes), mesh=mesh, in_specs=PartitionSpec(_AXES),
                      out_specs=PartitionSpec(_AXES), check_vma=False)
  text = jax.jit(run).lower(jax.ShapeDtypeStruct((8, 256), jnp.float32)).compile().as_text()
  return interconnect.by_axis(text, mesh.devices if devices is None else devices, _AXES, chip)


def _tpus(shape, mesh_shape, slices=1, cores=1):
  """Stand-ins for the devices of slices of chips, row by row."""
  places = [coords for _ in range(slices) for coords in np.ndindex(*shape) for _ in range(cores)]
  devices = np.empty(len(places), object)
  devices[:] = [types.SimpleNamespace(platform="tpu", coords=list(c)) for c in places]
  return devices.reshape(mesh_shape)


def _text(kind, groups, result="f32[256]", attribute="replica_groups"):
  return f"""ENTRY %main (x: f32[256]) -> {result} {{
  %x = f32[256]{{0}} parameter(0)
  ROOT %y = {result}{{0}} {kind}(%x), {attribute}={groups}, to_apply=%add
}}"""


class AxesTest(parameterized.TestCase):

  @parameterized.parameters(
      ("data", (1, 8, 1, 1), 8), ("fsdp", (1, 1, 8, 1), 8), ("data", (1, 2, 4, 1), 2),
      ("fsdp", (1, 2, 4, 1), 4), ("data", (1, 2, 2, 2), 2), ("fsdp", (1, 2, 2, 2), 2),
      ("tensor", (1, 2, 2, 2), 2), ("data+fsdp", (1, 2, 2, 2), 4), ("data+tensor", (1, 2, 2, 2), 4),
      ("data+fsdp+tensor", (1, 2, 2, 2), 8), ("slices", (2, 1, 4, 1), 2),
      ("slices+fsdp", (2, 1, 4, 1), 8))
  def test_the_axes_of_a_sum_are_recognised(self, name, shape, members):
    axes = tuple(name.split("+"))
    (found, sent), = _psum(axes, shape).items()
    self.assertEqual(found, name)
    slices = shape[0] if "slices" in axes else 1
    inside = members // slices
    self.assertEqual(sent.sent_bytes, 2 * 1024 * (inside - 1) / inside)
    self.assertEqual(sent.network_bytes, 2 * 1024 * (slices - 1) / slices / inside)

  def test_an_axis_of_one_device_sends_nothing(self):
    self.assertEmpty(_psum(("data",), (1, 1, 8, 1)))

  @parameterized.parameters((2, 4, 1), (2, 2, 2))
  def test_what_the_partitioner_inserts(self, data, fsdp, tensor):
    mesh = Mesh(np.asarray(jax.devices()).reshape(1, data, fsdp, tensor), _AXES)
    place = lambda *axes: NamedSharding(mesh, PartitionSpec(*axes))
    step = jax.grad(lambda w, x: jnp.tanh(x @ w).sum())
    text = jax.jit(step, out_shardings=place("fsdp", "tensor")).lower(
        jax.ShapeDtypeStruct((16, 32), jnp.float32, sharding=place("fsdp", "tensor")),
        jax.ShapeDtypeStruct((64, 16), jnp.float32, sharding=place(("data", "fsdp"), None)),
    ).compile().as_text()
    found = interconnect.by_axis(text, mesh.devices, _AXES)
    self.assertIn("fsdp", found)  # Weights.
    self.assertTrue(any("data" in name.split("+") for name in found))  # Gradients.


class LinksTest(parameterized.TestCase):

  @parameterized.parameters(
      ((16, 16, 1), (0, 1), 2, 4), ((16, 16, 1), (0,), 2, 2), ((8, 16, 1), (0, 1), 2, 3),
      ((4, 8, 1), (0, 1), 2, 2), ((2, 4, 1), (1,), 2, 1), ((4, 4, 4), (0, 1, 2), 3, 6),
      ((4, 4, 8), (2,), 3, 2), ((2, 2, 4), (2,), 3, 1), ((2, 2, 1), (0, 1), 3, 2))
  def test_rings_are_closed_on_whole_tori(self, shape, dims, torus_dims, links):
    self.assertEqual(interconnect.torus_links(shape, dims, torus_dims), links)

  @parameterized.parameters(("data", 2, (0,), 1), ("fsdp", 4, (1,), 1),
                            ("data+fsdp", 8, (0, 1), 2))
  def test_an_axis_uses_the_links_of_its_dimensions(self, name, members, dims, links):
    devices = _tpus((2, 4, 1), (1, 2, 4, 1))
    sent = _psum(tuple(name.split("+")), (1, 2, 4, 1), devices, _V5E)[name]
    self.assertEqual((sent.torus_dims, sent.links), (dims, links))
    self.assertEqual(sent.sent_bytes, 2 * 1024 * (members - 1) / members)
    self.assertEqual(sent.seconds(_V5E), sent.sent_bytes / links / 50e9)

  def test_a_part_of_a_ring_is_not_closed(self):
    devices = _tpus((4, 4, 4), (1, 2, 8, 4))
    rows = lambda size: "{" + ",".join(
        "{" + ",".join(map(str, range(i, i + size))) + "}" for i in range(0, 64, size)) + "}"
    links = {}
    for size in (2, 4, 16, 64):
      (_, sent), = interconnect.by_axis(
          _text("all-reduce", rows(size)), devices, _AXES, _V5P).items()
      links[size] = sent.links
    self.assertEqual(links, {2: 1, 4: 2, 16: 4, 64: 6})

  def test_kinds_send_what_a_ring_needs(self):
    devices = _tpus((2, 2, 1), (1, 1, 4, 1))
    exchange = lambda *args, **kwargs: interconnect.by_axis(
        _text(*args, **kwargs), devices, _AXES, _V5E)["fsdp"]
    gather = exchange("all-gather", "{{0,1,2,3}}", "f32[1024]")
    self.assertEqual(gather.sent_bytes, 4096 * 3 / 4)
    self.assertEqual(exchange("reduce-scatter", "{{0,1,2,3}}", "f32[64]").sent_bytes, 1024 * 3 / 4)
    self.assertEqual(exchange("all-reduce", "{{0,1,2,3}}").sent_bytes, 2 * 1024 * 3 / 4)
    one = exchange("collective-permute", "{{0,1},{1,2},{2,3}}", attribute="source_target_pairs")
    self.assertEqual((one.sent_bytes, one.link_bytes, one.links), (1024, 1024, 1))
    both = gather + one
    self.assertEqual(both.link_bytes, gather.link_bytes + one.link_bytes)

  def test_two_devices_of_a_chip_send_the_same_once(self):
    devices = _tpus((2, 2, 1), (1, 1, 4, 2), cores=2)
    reduce = lambda groups: interconnect.by_axis(
        _text("all-reduce", groups), devices, _AXES, _V5P, devices_per_chip=2)
    together = reduce("{{0,1,2,3,4,5,6,7}}")["fsdp+tensor"]
    apart = reduce("{{0,2,4,6},{1,3,5,7}}")["fsdp"]
    self.assertEqual(together.sent_bytes, 2 * 1024 * 3 / 4)
    self.assertEqual(apart.sent_bytes, 2 * together.sent_bytes)
    self.assertEqual(reduce("{{0,1},{2,3},{4,5},{6,7}}")["tensor"].sent_bytes, 0)

  def test_slices_exchange_after_each_has_done_its_part(self):
    devices = _tpus((2, 2, 1), (2, 1, 4, 1), slices=2)
    (name, sent), = interconnect.by_axis(
        _text("all-reduce", "{}"), devices, _AXES, _V5E).items()
    self.assertEqual(name, "slices+fsdp")
    self.assertEqual(sent.sent_bytes, 2 * 1024 * 3 / 4)
    self.assertEqual(sent.network_bytes, 2 * 1024 / 2 / 4)

  def test_what_the_runtime_sends_goes_to_the_same_place_of_other_slices(self):
    for slices in (2, 3):
      devices = _tpus((2, 2, 1), (slices, 1, 4, 1), slices=slices)
      (name, sent), = interconnect.by_axis(
          tpu_text.between_slices("ALL_REDUCE", "512", "512"), devices, _AXES, _V5E).items()
      self.assertEqual(name, "slices")
      self.assertEqual((sent.sent_bytes, sent.links), (0, 0))
      self.assertAlmostEqual(sent.network_bytes, 2 * 1024 * (slices - 1) / slices)


if __name__ == "__main__":
  absltest.main()
