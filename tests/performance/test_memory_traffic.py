"""Programs whose traffic is known by hand, and the compiler's count where it has no loops."""

import jax
import jax.numpy as jnp
from absl.testing import absltest, parameterized

from ntm.performance import memory_traffic
from tests.helpers import fusions

_X, _W = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((64, 128), (128, 128)))
_ROW, _WEIGHT = 64 * 128 * 4, 128 * 128 * 4


def _compiled(function, *args):
  return jax.jit(function).lower(*args).compile()


def _bytes(function, *args):
  return memory_traffic.traffic_bytes(_compiled(function, *args).as_text())


def _layers(unroll=1):
  return lambda x, w_L: jax.lax.scan(
      lambda x, w: (jnp.tanh(x @ w), None), x, w_L, unroll=unroll)[0]


def _stack(length):
  return jax.ShapeDtypeStruct((length, 128, 128), jnp.float32)


def _tpu(body):
  return f"""%slice (p0: f32[6,1024], p1: s32[]) -> f32[1024] {{
  %p0 = f32[6,1024]{{1,0}} parameter(0)
  %p1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  %part = f32[1,1024]{{1,0}} dynamic-slice(%p0, %p1, %zero), dynamic_slice_sizes={{1,1024}}
  ROOT %flat = f32[1024]{{0}} bitcast(%part)
}}

%update (q0: f32[6,1024], q1: f32[1024], q2: s32[]) -> f32[6,1024] {{
  %q0 = f32[6,1024]{{1,0}} parameter(0)
  %q1 = f32[1024]{{0}} parameter(1)
  %q2 = s32[] parameter(2)
  %row = f32[1,1024]{{1,0}} bitcast(%q1)
  %none = s32[] constant(0)
  ROOT %new = f32[6,1024]{{1,0}} dynamic-update-slice(%q0, %row, %q2, %none)
}}

ENTRY %main (a: f32[6,1024], b: f32[1024], c: f32[1024]) -> f32[6,1024] {{
  %a = f32[6,1024]{{1,0}} parameter(0)
  %b = f32[1024]{{0}} parameter(1)
  %c = f32[1024]{{0:S(1)}} parameter(2)
  %i = s32[]{{:S(6)}} constant(3)
{body}
}}"""


class MemoryTrafficTest(parameterized.TestCase):

  def test_a_product_reads_two_arrays_and_writes_one(self):
    self.assertEqual(_bytes(jnp.matmul, _X, _W), 2 * _ROW + _WEIGHT)

  @parameterized.parameters(1, 3)
  def test_without_loops_the_compilers_count_is_the_same(self, length):
    loss = lambda w_L, x: _layers(length)(x, w_L).sum()
    for function in (loss, jax.grad(loss)):
      compiled = _compiled(function, _stack(length), _X)
      self.assertEqual(memory_traffic.traffic_bytes(compiled.as_text()),
                       compiled.cost_analysis()["bytes accessed"])

  def test_a_loop_counts_as_often_as_it_runs_which_the_compilers_count_does_not(self):
    ours = {n: _bytes(_layers(), _X, _stack(n)) for n in (5, 10, 20)}
    self.assertAlmostEqual((ours[20] - ours[10]) / (ours[10] - ours[5]), 2, delta=0.01)
    # Per layer at least its product and its activation, and no other layer's weights.
    self.assertBetween((ours[20] - ours[10]) / 10, 2 * _ROW + _WEIGHT, 4 * (2 * _ROW + _WEIGHT))
    theirs = {n: _compiled(_layers(), _X, _stack(n)).cost_analysis()["bytes accessed"]
              for n in (10, 20)}
    self.assertLess(theirs[20], 1.1 * theirs[10])

  @parameterized.parameters(
      # One row of six is read, and written elsewhere.
      ("  ROOT %r = f32[1024]{0} fusion(%a, %i), kind=kLoop, calls=%slice", 2 * 4096),
      # One row is read, and written in place of another.
      ("  ROOT %r = f32[6,1024]{1,0} fusion(%a, %b, %i), kind=kLoop, calls=%update", 2 * 4096),
      ("  ROOT %r = f32[1024]{0} add(%b, %c)", 2 * 4096),
      ("  ROOT %r = f32[1024]{0:S(1)} add(%c, %c)", 0),
      ("  ROOT %r = f32[1024]{0:S(1)} fusion(%a, %i), kind=kLoop, calls=%slice", 4096),
      ("  ROOT %r = f32[6144]{0} bitcast(%a)", 0),
      ("  %start = (f32[1024]{0:S(1)}, f32[1024]{0}, u32[]{:S(2)}) copy-start(%b)\n"
       "  ROOT %r = f32[1024]{0:S(1)} copy-done(%start)", 4096),
      # A quarter is read ahead into the memory of the chip, and written back.
      ("  %start = ((f32[1024]{0}), f32[256]{0:S(1)}, s32[]{:S(2)}) slice-start(%b), "
       "slice={[0:256]}\n  %done = f32[256]{0:S(1)} slice-done(%start)\n"
       "  ROOT %r = f32[256]{0} negate(%done)", 2 * 1024),
      ("  %start = (f32[1024]{0}, f32[8192]{0}) all-gather-start(%b), dimensions={0}\n"
       "  ROOT %r = f32[8192]{0} all-gather-done(%start)", 9 * 4096))
  def test_instructions_of_a_tpu(self, body, expected):
    self.assertEqual(memory_traffic.traffic_bytes(_tpu(body)), expected)

  def test_a_gather_that_is_spread_over_fusions_counts_once(self):
    # The gather reads 1 and writes 8 parts; the work in between reads 1 and writes 1.
    self.assertEqual(memory_traffic.traffic_bytes(fusions.SPREAD_GATHER), (9 + 2) * 4096)
    self.assertEqual(memory_traffic.state_bytes(fusions.SPREAD_GATHER), (2 + 8) * 4096)


if __name__ == "__main__":
  absltest.main()
