import ml_dtypes
import numpy as np
from absl.testing import absltest, parameterized

from ntm.conversion.tensors import TensorSpec


class TensorSpecTest(parameterized.TestCase):

  @parameterized.parameters(((3, 4), 24), ((), 2), ((0, 5), 0))
  def test_size_in_bytes(self, shape, size):
    self.assertEqual(TensorSpec(shape, np.dtype(ml_dtypes.bfloat16)).nbytes, size)

  @parameterized.parameters(np.complex64, ml_dtypes.float8_e4m3fn, np.str_)
  def test_other_types_are_refused(self, dtype):
    with self.assertRaisesRegex(ValueError, "^numbers of type .* are not read; expected one of bo"):
      TensorSpec((2,), np.dtype(dtype))


if __name__ == "__main__":
  absltest.main()
