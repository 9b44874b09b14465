"""Programs written by hand, and loops that JAX writes."""

import jax
import jax.numpy as jnp
from absl.testing import absltest, parameterized

from ntm.performance import hlo

_LOOP = """%body (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %p = (s32[], f32[8]{0}) parameter(0)
  %half = f32[8]{0} fusion(%x), kind=kLoop, calls=%inner
  ROOT %next = (s32[], f32[8]{0}) tuple(%i, %half)
}

%inner (x.1: f32[8]) -> f32[8] {
  %x.1 = f32[8]{0} parameter(0)
  ROOT %negate = f32[8]{0} negate(%x.1)
}

%condition (q: (s32[], f32[8])) -> pred[] {
  %q = (s32[], f32[8]{0}) parameter(0)
  %last = s32[] constant(6)
  ROOT %less = pred[] compare(%counter, %last), direction=LT
}

ENTRY %main (a: f32[8]) -> (s32[], f32[8]) {
  %a = f32[8]{0} parameter(0)
  ROOT %loop = (s32[], f32[8]{0}) while(%start), condition=%condition, body=%body
}"""


class HloTest(parameterized.TestCase):

  def test_a_loop_runs_as_often_as_its_condition_says_and_so_does_what_it_calls(self):
    program = hlo.parse(_LOOP)
    self.assertEqual(program.runs(), {"%main": 1, "%body": 6, "%inner": 6})
    self.assertEqual(program.runs(fused=False), {"%main": 1, "%body": 6})

  @parameterized.parameters(1, 5)
  def test_nested_scans_multiply(self, length):
    step = lambda x, _: (jax.lax.scan(lambda x, _: (jnp.sin(x), None), x, length=3)[0], None)
    text = jax.jit(lambda x: jax.lax.scan(step, x, length=length)[0]).lower(
        jnp.ones(8)).compile().as_text()
    program = hlo.parse(text)
    sines = sum(times for name, times in program.runs().items()
                for i in program.computations[name] if i.opcode == "sine")
    self.assertEqual(sines, 3 * length)

  @parameterized.parameters(
      ("f32[2,3]{1,0}", [24]), ("bf16[8]", [16]), ("pred[]", [1]), ("s4[8]", [4]),
      ("f8e4m3fn[8]", [8]), ("(f32[2]{0}, /*index=1*/s32[])", [8, 4]), ("token[]", [1]))
  def test_bytes_of_types(self, types, expected):
    self.assertEqual([a.bytes for a in hlo.arrays(types)], expected)
    self.assertEqual(hlo.num_bytes(types), sum(expected))

  @parameterized.parameters(
      ("f32[8]{0:T(128)}", True), ("f32[8]{0:T(128)S(1)}", False), ("f32[8]{0:S(5)}", False),
      ("f32[8]{0:T(128)S(0)}", True), ("f32[8]", True))
  def test_a_layout_names_its_memory(self, types, in_memory):
    self.assertEqual([a.in_memory for a in hlo.arrays(types)], [in_memory])

  def test_what_only_starts_gives_the_second_half_of_its_type(self):
    text = """ENTRY %main (x: f32[8]) -> f32[64] {
  %x = f32[8]{0} parameter(0)
  %start = (f32[8]{0}, f32[64]{0:S(1)}, u32[]{:S(2)}) all-gather-start(%x), dimensions={0}
  ROOT %done = f32[64]{0} all-gather-done(%start)
}"""
    x, start, done = hlo.parse(text).computations["%main"]
    self.assertEqual([i.is_root for i in (x, start, done)], [False, False, True])
    self.assertEqual(start.result, "f32[64]{0:S(1)}")
    self.assertEqual(start.operands, ["%x"])

  def test_a_text_without_a_program_is_refused(self):
    with self.assertRaisesRegex(ValueError, "no ENTRY computation"):
      hlo.parse("nothing")


if __name__ == "__main__":
  absltest.main()
