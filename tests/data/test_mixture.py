import numpy as np
from absl.testing import absltest

from ntm.config import DataConfig
from ntm.data.mixture import Mixture


class MixtureTest(absltest.TestCase):

  def test_an_example_is_a_function_of_split_and_index(self):
    data = DataConfig(source="mixture")
    train, again, test = (Mixture(data, split, (2, 1)) for split in ("train", "train", "test"))
    self.assertEqual(train[5]["image"].shape, (2, 1))
    np.testing.assert_array_equal(train[5]["image"], again[5]["image"])
    self.assertFalse((train[5]["image"] == train[6]["image"]).any())
    self.assertFalse((train[5]["image"] == test[5]["image"]).any())


if __name__ == "__main__":
  absltest.main()
