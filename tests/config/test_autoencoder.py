from absl.testing import absltest, parameterized

from tests.helpers import tiny


class AutoencoderConfigTest(parameterized.TestCase):

  @parameterized.parameters(
      ({"model__image_shape": (16, 4), "model__patch_shape": (1,)}, "unless model.image_shape is"),
      ({"data__source": "mixture", "data__mixture": "templates", "model__image_shape": (8, 8, 1)},
       "'' with data.source 'mixture'"))
  def test_data_without_pixels_are_refused(self, changes, message):
    self.assertEqual(tiny.config(**changes).autoencoder.path, "")
    with self.assertRaisesRegex(ValueError, message):
      tiny.config(autoencoder__path="somewhere", **changes)


if __name__ == "__main__":
  absltest.main()
