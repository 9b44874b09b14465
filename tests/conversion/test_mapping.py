import numpy as np
from absl.testing import absltest, parameterized

from ntm.conversion import mapping
from ntm.conversion.mapping import Entry
from ntm.conversion.transforms import linear
from tests.helpers import in_memory

# One tensor in two pieces, a stacked leaf, a scalar, and a tensor left out.
_ENTRIES = [
    Entry("fused.weight", "query/kernel", linear((2, 2)), rows=(0, 4)),
    Entry("fused.weight", "key/kernel", linear(), rows=(4, 6)),
    Entry("blocks.{i}.weight", "blocks/kernel", linear(), layers=3),
    Entry("scale", "scale"),
]
_SOURCE = {"fused.weight": (6, 5), "scale": (), "count": (),
           **{f"blocks.{i}.weight": (2, 7) for i in range(3)}}
_TARGET = {"query/kernel": (5, 2, 2), "key/kernel": (5, 2), "blocks/kernel": (3, 7, 2),
           "scale": ()}
_IGNORED = {"count": "not of the model"}


def _numbers(shapes):
  rng = np.random.default_rng(0)
  return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


class MappingTest(parameterized.TestCase):

  def test_every_number_arrives_and_returns(self):
    source = _numbers(_SOURCE)
    mapping.check(_ENTRIES, _SOURCE, _TARGET, _IGNORED)
    leaves = {path: in_memory.read_leaf(_ENTRIES, source.__getitem__, path) for path in _TARGET}
    self.assertEqual({path: leaf.shape for path, leaf in leaves.items()}, _TARGET)
    np.testing.assert_array_equal(leaves["key/kernel"], source["fused.weight"][4:].T)
    np.testing.assert_array_equal(leaves["blocks/kernel"][2], source["blocks.2.weight"].T)
    back = dict(mapping.write(_ENTRIES, leaves.__getitem__))
    self.assertEqual(set(back), set(_SOURCE) - set(_IGNORED))
    for name, array in back.items():
      np.testing.assert_array_equal(array, source[name], strict=True)

  def test_parts_of_a_fused_tensor_join_by_row_in_any_order(self):
    source = _numbers(_SOURCE)
    leaves = {path: in_memory.read_leaf(_ENTRIES, source.__getitem__, path) for path in _TARGET}
    back = dict(mapping.write(_ENTRIES[::-1], leaves.__getitem__))
    np.testing.assert_array_equal(back["fused.weight"], source["fused.weight"])

  @parameterized.named_parameters(
      ("missing", dict(source={"scale": None}), "missing in the file: scale"),
      ("missing_layer", dict(source={"blocks.1.weight": None}), "missing in the file: blocks.1"),
      ("surplus", dict(source={"extra": (2,)}), r"surplus in the file: extra \[2\]"),
      ("surplus_layer", dict(source={"blocks.3.weight": (2, 7)}), "surplus in the file: blocks.3"),
      ("numbers", dict(source={"blocks.1.weight": (2, 8)}), "16 numbers for 14"),
      ("axes", dict(source={"blocks.1.weight": (7, 2)}), r"transform gives \[2, 7\]"),
      ("rows_left", dict(source={"fused.weight": (7, 5)}), r"rows \[\(0, 4\), \(4, 6\)\] are used"),
      ("unfilled", dict(target={"bias": (2,)}), r"not filled: bias \[2\]"),
      ("unknown", dict(target={"scale": None}), "no such leaf: scale"),
      ("layers", dict(target={"blocks/kernel": (4, 7, 2)}), "filled in part or twice: blocks"),
      ("ignored", dict(ignored={"scale": "?"}), "used and ignored: scale"),
      ("twice", dict(entries=[Entry("scale", "scale")]), "filled in part or twice: scale"),
      ("overlap", dict(entries=[Entry("fused.weight", "bias", linear(), rows=(4, 6))],
                       target={"bias": (5, 2)}), "not each once"),
  )
  def test_reports(self, change, message):
    shapes = lambda base, name: {
        key: value for key, value in {**base, **change.get(name, {})}.items()
        if value is not None}
    with self.assertRaisesRegex(ValueError, message):
      mapping.check(_ENTRIES + change.get("entries", []), shapes(_SOURCE, "source"),
                    shapes(_TARGET, "target"), _IGNORED | change.get("ignored", {}))

  def test_of_a_long_report_both_ends_are_kept(self):
    surplus = {f"extra_{i:02}": (2,) for i in range(40)}
    source = {name: shape for name, shape in _SOURCE.items() if name != "scale"} | surplus
    with self.assertRaises(ValueError) as raised:
      mapping.check(_ENTRIES, source, _TARGET, _IGNORED)
    lines = str(raised.exception).splitlines()
    self.assertLen(lines, 12)
    self.assertIn("missing in the file: scale", lines[1])
    self.assertEqual(lines[6].strip(), "... and 31 more ...")
    self.assertIn("extra_39", lines[-1])

  def test_rows_that_add_up_but_overlap(self):
    entries = [Entry("w", "a", rows=(0, 2)), Entry("w", "b", rows=(0, 2))]
    with self.assertRaisesRegex(ValueError, "not each once"):
      mapping.check(entries, {"w": (4,)}, {"a": (2,), "b": (2,)}, {})


if __name__ == "__main__":
  absltest.main()
