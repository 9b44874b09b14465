"""Types and numbers that are surely damage are refused in one line."""

from unittest import mock

import ml_dtypes
import numpy as np
from absl.testing import absltest, parameterized

from ntm.conversion import converter, inspection
from ntm.conversion.families import Family
from ntm.conversion.mapping import Entry
from tests.helpers import toy


class InspectionTest(toy.ToyTest):

  @parameterized.parameters(np.nan, np.inf, -np.inf)
  def test_numbers_that_are_not_finite_are_refused_by_name(self, value):
    for dtype in (np.float32, ml_dtypes.bfloat16):
      tensors = toy.tensors(dtype)
      tensors["blocks.1.weight"][1, 3:5] = value
      self.save(tensors)
      with self.assertRaisesRegex(
          ValueError, r"^blocks.1.weight \[2, 7\] holds 2 numbers that are NaN or infinite"):
        converter.convert(toy.FAMILY, self.source, self.target)
      self.assert_nothing_left("model.safetensors")

  def test_numbers_beyond_the_range_of_the_type_asked_for(self):
    tensors = toy.tensors(np.float64)
    tensors["scale"] = np.array(1e300)
    self.save(tensors)
    with self.assertRaisesRegex(ValueError, "^scale holds numbers beyond the range of float32"):
      converter.convert(toy.FAMILY, self.source, self.target, "float32")
    self.assert_nothing_left("model.safetensors")

  @parameterized.parameters(np.int8, np.int64, np.uint8, np.bool_)
  def test_integers_and_booleans_are_no_parameters(self, dtype):
    self.save(toy.tensors() | {"blocks.1.weight": np.ones((2, 7), dtype)})
    for dry_run in (True, False):
      with self.assertRaisesRegex(ValueError, r"must be floating-point numbers: blocks.1.weight "
                                              rf"\[2, 7\] is {np.dtype(dtype)} \(for blocks/kern"):
        converter.convert(toy.FAMILY, self.source, self.target, dry_run=dry_run)
    self.assert_nothing_left("model.safetensors")

  def test_zeros_that_are_surely_damage(self):
    zeros = {name: np.zeros_like(array) for name, array in toy.tensors().items()}
    self.save(toy.tensors() | {"scale": zeros["scale"]})
    with self.assertRaisesRegex(ValueError, r"^scale \[\] holds gains that are all zero"):
      converter.convert(toy.FAMILY, self.source, self.target)
    ungained = [entry for entry in toy.ENTRIES if entry.target != "scale"]
    bare = Family("toy", toy.FAMILY.recognise, lambda _: ungained,
                  lambda _: {k: v for k, v in toy.TARGET.items() if k != "scale"},
                  toy.FAMILY.ignored)
    del zeros["scale"]
    self.save(zeros)
    with self.assertRaisesRegex(ValueError, "^all 4 tensors are zero"):
      converter.convert(bare, self.source, self.target)
    self.assert_nothing_left("model.safetensors")
    # A readout is zero in a model that was never trained.
    self.save(toy.tensors() | {"blocks.1.weight": zeros["blocks.1.weight"]})
    with self.assertLogs("ntm", "WARNING") as logs:
      converter.convert(toy.FAMILY, self.source, self.target)
    self.assertIn("1 weights are zero throughout, as blocks.1.weight", logs.output[0])

  def test_variances_are_positive(self):
    tensors = mock.Mock(read=lambda name: np.array([1.0, 0.0]), specs={})
    for target in ("var", "latent_var"):
      with self.assertRaisesRegex(ValueError, r"^v \[2\] holds variances that are not positive"):
        inspection.Inspector([Entry("v", target)], tensors).read("v")


if __name__ == "__main__":
  absltest.main()
