"""Programs whose collectives are known by hand, compiled for eight CPU devices."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ntm.performance import collectives
from tests.helpers import fusions, tpu_text


def _collective_bytes(function, *args, **kwargs):
  return collectives.collective_bytes(
      jax.jit(function, **kwargs).lower(*args).compile().as_text())


def _mesh():
  return Mesh(np.asarray(jax.devices()), ("d",))


def _array(*shape):
  return jax.ShapeDtypeStruct(shape, jnp.float32)


class CollectivesTest(parameterized.TestCase):

  @parameterized.parameters(1, 7)
  def test_a_collective_in_a_loop_counts_as_often_as_it_runs(self, times):
    def body(x):
      step = lambda x, _: (jax.lax.psum(x, "d") * 0.5, None)
      return jax.lax.scan(step, x, None, length=times)[0]

    run = jax.shard_map(body, mesh=_mesh(), in_specs=PartitionSpec(), out_specs=PartitionSpec(),
                        check_vma=False)
    self.assertEqual(_collective_bytes(run, _array(128)), {"all-reduce": times * 128 * 4})

  def test_gathers_count_what_they_give(self):
    split = NamedSharding(_mesh(), PartitionSpec("d"))
    whole = NamedSharding(_mesh(), PartitionSpec())
    found = _collective_bytes(lambda x: x, _array(64, 4), in_shardings=split, out_shardings=whole)
    self.assertEqual(found, {"all-gather": 64 * 4 * 4})

  def test_scatters_count_what_they_reduce(self):
    text = """ENTRY %main (x: f32[64]) -> f32[8] {
  %x = f32[64]{0} parameter(0)
  %sum = f32[64]{0} all-reduce-start(%x), to_apply=%add
  %done = f32[64]{0} all-reduce-done(%sum)
  ROOT %part = f32[8]{0} reduce-scatter(%done), dimensions={0}, to_apply=%add
}"""
    self.assertEqual(collectives.collective_bytes(text),
                     {"all-reduce": 64 * 4, "reduce-scatter": 64 * 4})

  def test_a_gather_that_is_spread_over_fusions_counts_once(self):
    self.assertEqual(collectives.collective_bytes(fusions.SPREAD_GATHER), {"all-gather": 8 * 4096})

  @parameterized.parameters(
      ("%sum", "reduce-scatter"), ("%same", "reduce-scatter"), ("%other", "all-reduce"))
  def test_a_sum_of_which_a_fusion_keeps_a_part_is_a_scatter(self, sliced, kind):
    text = f"""%scatter (x: f32[64]) -> f32[8] {{
  %x = f32[64]{{0}} parameter(0)
  %sum = f32[64]{{0}} all-reduce(%x), replica_groups={{{{0,1}}}}, to_apply=%add
  %same = f32[64]{{0}} bitcast(%sum)
  %other = f32[64]{{0}} negate(%sum)
  %place = s32[] constant(8)
  ROOT %part = f32[8]{{0}} dynamic-slice({sliced}, %place), dynamic_slice_sizes={{8}}
}}

ENTRY %main (y: f32[64]) -> f32[8] {{
  %y = f32[64]{{0}} parameter(0)
  ROOT %part.1 = f32[8]{{0}} fusion(%y), kind=kCustom, calls=%scatter
}}"""
    if kind == "reduce-scatter":
      text = text.replace("  %other = f32[64]{0} negate(%sum)\n", "")
    self.assertEqual(collectives.collective_bytes(text), {kind: 64 * 4})

  @parameterized.parameters(
      (lambda x: jax.lax.psum(x, "slices"), "all-reduce"), (lambda x: jax.lax.psum(x, "d"), None),
      (lambda x: jax.lax.psum(x, ("slices", "d")), "all-reduce"),
      (lambda x: jax.lax.ppermute(x, "slices", [(0, 1), (1, 0)]), "collective-permute"),
      (lambda x: jax.lax.ppermute(x, "d", [(0, 1), (1, 2)]), None))
  def test_what_leaves_a_slice(self, exchange, kind):
    mesh = Mesh(np.asarray(jax.devices()).reshape(2, 4), ("slices", "d"))
    run = jax.shard_map(exchange, mesh=mesh, in_specs=PartitionSpec(("slices", "d")),
                        out_specs=PartitionSpec(("slices", "d")), check_vma=False)
    text = jax.jit(run).lower(_array(8, 16)).compile().as_text()
    self.assertEqual(collectives.crossing_bytes(text, 4), {kind: 64} if kind else {})
    self.assertEqual(set(collectives.collective_bytes(text).values()), {64})

  @parameterized.parameters(
      ("{{0,1},{2,3}}", 2, False), ("{{0,2},{1,3}}", 2, True), ("[2,2]<=[4]", 2, False),
      ("[2,2]<=[2,2]T(1,0)", 2, True), ("[1,4]<=[4]", 2, True), ("[1,4]<=[4]", 4, False),
      ("{}", 2, True), ("mesh['a'=2,'b'=2] {'a'}", 2, True), ("mesh['a'=2,'b'=2] {'b'}", 2, False),
      ("mesh['a'=2,'b'=1,'c'=2], device_ids=([2,2]T(1,0)) {'a'}", 2, False),
      ("mesh['a'=2,'b'=1,'c'=2], device_ids=([2,2]T(1,0)) {'c'}", 2, True),
      ("mesh['a'=1,'b'=4] {'b'}", 2, True), ("mesh['a'=4] {'a':(2)2}", 2, False),
      ("mesh['a'=4] {'a':(1)2}", 2, True), ("mesh['a'=2,'b'=2] {'a','b'}", 2, True))
  def test_groups_in_all_notations(self, groups, size, crosses):
    text = f"""ENTRY %main (x: f32[64]) -> f32[64] {{
  %x = f32[64]{{0}} parameter(0)
  ROOT %sum = f32[64]{{0}} all-reduce(%x), channel_id=1, replica_groups={groups}, to_apply=%add
}}"""
    self.assertEqual(collectives.crossing_bytes(text, size), {"all-reduce": 256} if crosses else {})

  def test_groups_in_another_notation_are_named(self):
    text = """ENTRY %main (x: f32[64]) -> f32[64] {
  %x = f32[64]{0} parameter(0)
  ROOT %sum = f32[64]{0} all-reduce(%x), replica_groups=<new>, to_apply=%add
}"""
    with self.assertRaisesRegex(ValueError, "%sum has no groups of devices that can be read"):
      collectives.crossing_bytes(text, 2)

  @parameterized.parameters(
      ("ALL_REDUCE", "64,128", "64,128", {"all-reduce": 7 * 64 * 128 * 2}),
      ("ALL_GATHER", "64,128", "192,128", {"all-gather": 7 * 192 * 128 * 2}),
      ("REDUCE_SCATTER", "192,128", "64,128", {"reduce-scatter": 7 * 192 * 128 * 2}),
      ("ALL_TO_ALL", "3,64", "3,64", {"all-to-all": 7 * 3 * 64 * 2}),
      ("ONE_TO_ONE", "64", "64", {"collective-permute": 7 * 64 * 2}), (None, "64", "64", {}))
  def test_what_the_runtime_of_tpus_sends_between_slices(self, transfer, sent, given, expected):
    text = tpu_text.between_slices(transfer, sent, given, times=7)
    self.assertEqual(collectives.collective_bytes(text), expected)
    self.assertEqual(collectives.crossing_bytes(text, 4), expected)

  @parameterized.parameters(
      (lambda x: jax.lax.psum(x, "slices"), {"all-reduce": 64 * 1024 * 4}),
      (lambda x: jax.lax.psum(x, ("slices", "d")), {"all-reduce": 64 * 1024}),  # Of a part.
      (lambda x: jax.lax.all_gather(x, "slices"), {"all-gather": 2 * 64 * 1024 * 4}),
      (lambda x: jax.lax.psum(x, "d"), {}))
  def test_slices_of_tpus_compiled_for(self, exchange, expected):
    if importlib.util.find_spec("libtpu") is None:
      self.skipTest("libtpu is not installed")
    devices = tpu_text.devices("v5e:2x2", num_slices=2)
    mesh = Mesh(np.asarray(devices).reshape(2, 4), ("slices", "d"))
    run = jax.shard_map(exchange, mesh=mesh, in_specs=PartitionSpec(("slices", "d")),
                        out_specs=PartitionSpec(("slices", "d")), check_vma=False)
    text = jax.jit(run).lower(_array(8 * 64, 1024)).compile().as_text()
    self.assertEqual(collectives.crossing_bytes(text, 4), expected)

  def test_one_device_exchanges_nothing(self):
    self.assertEqual(_collective_bytes(lambda x, y: x + y, _array(8), _array(8)), {})

  def test_a_text_without_a_program_is_refused(self):
    with self.assertRaisesRegex(ValueError, "no ENTRY computation"):
      collectives.collective_bytes("nothing")


if __name__ == "__main__":
  absltest.main()
