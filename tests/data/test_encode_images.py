"""The encoder gives the same moments for a batch of any size, and refuses other models."""

import numpy as np
from absl.testing import absltest, parameterized

from ntm.conversion import converter
from ntm.data.encode_images import Encoder
from tests.helpers import encoding


class EncoderTest(parameterized.TestCase):

  def test_the_moments_of_an_image_do_not_depend_on_the_rest_of_its_batch(self):
    encoder = Encoder(encoding.autoencoder(), 16, 8)
    images = list(np.random.default_rng(0).uniform(-1, 1, (8, 16, 16, 3)).astype(np.float32))
    whole = np.asarray(encoder.start(images))
    self.assertEqual((whole.dtype, whole.shape), (np.float16, (8, 2, 2, 8, 8, 4)))
    np.testing.assert_array_equal(np.asarray(encoder.start(images[:3]))[:3], whole[:3])
    # A mirror image's mirror image is the image.
    mirrored = np.asarray(encoder.start([image[:, ::-1] for image in images]))
    np.testing.assert_array_equal(mirrored[:, ::-1], whole)

  def test_the_checksum_is_that_of_the_parameters(self):
    settings = lambda which: Encoder(encoding.autoencoder(which), 16, 8).settings
    self.assertEqual(settings("kl"), settings("kl"))
    self.assertNotEqual(settings("kl")["autoencoder"]["checksum"],
                        settings("flux2")["autoencoder"]["checksum"])

  def test_other_families_are_refused(self):
    with absltest.mock.patch.object(converter, "load", return_value=("sit", {}, {})):
      with self.assertRaisesRegex(ValueError, "of family 'sit'; expected one of autoencoder_kl"):
        Encoder("runs/sit", 16, 8)

  def test_other_channels_are_refused(self):
    family, architecture, params = converter.load(encoding.autoencoder())
    grey = (family, architecture | {"image_channels": 1}, params)
    with absltest.mock.patch.object(converter, "load", return_value=grey):
      with self.assertRaisesRegex(ValueError, "of images with 1 channels; expected 3"):
        Encoder("runs/grey", 16, 8)


if __name__ == "__main__":
  absltest.main()
