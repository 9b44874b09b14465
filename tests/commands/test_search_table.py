import json

from absl.testing import absltest
from jax.sharding import AbstractMesh

from ntm.commands import search, search_table
from ntm.performance import accelerators
from tests.helpers import tiny

_CHIP = accelerators.lookup("TPU v5 lite")


def _found():
  def way(remat):
    config = tiny.config(model__remat=remat, mesh={"data": 2, "fsdp": 4, "tensor": 1})
    return search.Way(config, AbstractMesh((2, 4, 1), ("data", "fsdp", "tensor")), 2 ** 30, 0.1, 5)

  return search.Found(
      [(way("dots"), {"hbm_per_chip_bytes": 2 ** 31, "step_seconds": 0.25, "mfu_bound": 0.4,
                      "mfu_bound_without_overlap": 0.3}),
       (way("none"), {"hbm_per_chip_bytes": 2 ** 35})],
      1, 12, {"divide": 3, "memory": 4, "time": 3, "failed": 0})


class SearchTableTest(absltest.TestCase):

  def test_a_row_per_compiled_way_and_the_flags_of_the_first(self):
    header, best, other, counts, _, flags = search_table.text(_found(), _CHIP).splitlines()
    self.assertRegex(header, "remat .* step, ms .* MFU at most +without overlap$")
    self.assertRegex(best, r"dots +1 +1 +2 +4 +1 +2\.00 +12\.5% +1\.00 +250 +40% +30%$")
    self.assertRegex(other, r"none .* 32\.00 +200\.0% too much")
    self.assertIn("12 ways: 3 do not divide, 4 need too much memory", counts)
    self.assertIn("2 were compiled, of which 1 fit 90%", counts)
    self.assertEqual(flags.split(), _found().compiled[0][0].flags)
    self.assertIn("--config.mesh.fsdp=4", flags)

  def test_json_has_the_best_and_all_others(self):
    written = json.loads(json.dumps(search_table.as_json(_found(), _CHIP)))
    self.assertEqual(written["step_seconds"], 0.25)
    self.assertIn("--config.model.remat=dots", written["flags"])
    self.assertEqual([way["fits"] for way in written["ways"]], [True, False])
    self.assertIsNone(written["ways"][1]["step_seconds"])
    self.assertEqual(written["candidates"],
                     len(written["ways"]) + sum(written["left_out"].values()))


if __name__ == "__main__":
  absltest.main()
