"""Programs whose traffic is known by hand, compiled for eight CPU devices."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ntm.performance import compiled_text

_MIB = 2 ** 20


def _traffic(function, *args, **kwargs):
  return compiled_text.traffic(jax.jit(function, **kwargs).lower(*args).compile().as_text())


def _mesh():
  return Mesh(np.asarray(jax.devices()), ("d",))


def _array(*shape):
  return jax.ShapeDtypeStruct(shape, jnp.float32)


class HloTest(parameterized.TestCase):

  @parameterized.parameters(1, 7)
  def test_a_collective_in_a_loop_counts_as_often_as_it_runs(self, times):
    def body(x):
      step = lambda x, _: (jax.lax.psum(x, "d") * 0.5, None)
      return jax.lax.scan(step, x, None, length=times)[0]

    run = jax.shard_map(body, mesh=_mesh(), in_specs=PartitionSpec(), out_specs=PartitionSpec(),
                        check_vma=False)
    found = _traffic(run, _array(128)).collectives
    self.assertEqual(found, {"all-reduce": times * 128 * 4})

  def test_gathers_count_what_they_give(self):
    split = NamedSharding(_mesh(), PartitionSpec("d"))
    whole = NamedSharding(_mesh(), PartitionSpec())
    found = _traffic(lambda x: x, _array(64, 4), in_shardings=split, out_shardings=whole)
    self.assertEqual(found.collectives, {"all-gather": 64 * 4 * 4})

  def test_scatters_count_what_they_reduce(self):
    text = """ENTRY %main (x: f32[64]) -> f32[8] {
  %x = f32[64]{0} parameter(0)
  %sum = f32[64]{0} all-reduce-start(%x), to_apply=%add
  %done = f32[64]{0} all-reduce-done(%sum)
  ROOT %part = f32[8]{0} reduce-scatter(%done), dimensions={0}, to_apply=%add
}"""
    self.assertEqual(compiled_text.traffic(text).collectives,
                     {"all-reduce": 64 * 4, "reduce-scatter": 64 * 4})

  def test_one_device_exchanges_nothing_and_moves_operands_and_result(self):
    found = _traffic(lambda x, y: x + y, _array(_MIB), _array(_MIB))
    self.assertEqual(found.collectives, {})
    self.assertEqual(found.memory, 3 * 4 * _MIB)

  def test_a_scan_reads_its_slices_once(self):
    """Stacked weights of 16 MiB and a carry: not 16 MiB for each of the 16 steps."""
    step = lambda x, w: (jnp.tanh(x * w), x)
    found = _traffic(lambda x, w: jax.lax.scan(step, x, w), _array(2 ** 18), _array(16, 2 ** 18))
    # A step reads the carry and its weights, writes the carry and its output: 4 MiB, and makes
    # copies of its own. Whole stacks in every step would be 16 * 32 MiB.
    self.assertBetween(found.memory, 16 * 4 * _MIB, 16 * 12 * _MIB)

  def test_a_text_that_is_no_program_is_named(self):
    with self.assertRaisesRegex(ValueError, "no ENTRY computation"):
      compiled_text.traffic("nothing")


if __name__ == "__main__":
  absltest.main()
