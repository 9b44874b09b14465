import jax
from absl.testing import absltest, parameterized

from ntm.commands import programs
from ntm.nn import partitioning
from tests.helpers import tiny

_SMALL = {"layers": 1, "width": 16, "num_heads": 2, "num_kv_heads": 2}


def _make(program="train", **changes):
  config = tiny.config(**{"model__predictor": _SMALL, "denoiser": _SMALL,
                          "model__transporter": _SMALL | {"num_blocks": 1},
                          "mesh": {"data": 2, "fsdp": 2, "tensor": 2}} | changes)
  return programs.make(program, config, partitioning.make_mesh(config.mesh))


class ProgramsTest(parameterized.TestCase):

  @parameterized.parameters(*programs.PROGRAMS)
  def test_its_arguments_are_abstract_and_placed(self, program):
    _, args, params = _make(program)
    leaves = jax.tree.leaves(args)
    self.assertTrue(all(isinstance(a, jax.ShapeDtypeStruct) for a in leaves))
    self.assertContainsSubset([a.shape for a in jax.tree.leaves(params)],
                              [a.shape for a in leaves])
    whole = sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(params))
    self.assertBetween(programs.shard_bytes(params), whole / 4, whole)

  def test_a_batch_or_a_width_that_does_not_split_is_named(self):
    with self.assertRaisesRegex(ValueError, "batch_size 6 .* 4 devices"):
      _make(train__batch_size=6)
    with self.assertRaisesRegex(
        ValueError, r"attention/key/.* axis \d is not divisible by the 2 devices of mesh axis "
        "'tensor'"):
      _make(model__predictor=_SMALL | {"num_kv_heads": 1})


if __name__ == "__main__":
  absltest.main()
