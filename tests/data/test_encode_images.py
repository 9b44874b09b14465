"""The encoder gives the same moments for a batch of any size, and refuses other models."""

import numpy as np
from absl.testing import absltest, parameterized

from ntm.conversion import converter, record
from ntm.data import encode_images
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

  def test_the_settings_are_those_of_the_moments_and_need_no_weights(self):
    with absltest.mock.patch.object(converter, "load") as load:
      found = {which: encode_images.settings(encoding.autoencoder(which), 16)
               for which in ("kl", "kl_plain", "flux2")}
    load.assert_not_called()
    self.assertEqual(found["kl"], encode_images.settings(encoding.autoencoder("kl"), 16))
    self.assertLen({part["autoencoder"]["checksum"] for part in found.values()}, 3)
    for which, part in found.items():
      encoder = Encoder(encoding.autoencoder(which), 16, 8)
      moments = encoder.start([np.zeros((16, 16, 3), np.float32)])
      self.assertEqual(encoder.latent_shape, moments.shape[3:])
      self.assertEqual(part["latent_shape"], list(moments.shape[3:]))

  @parameterized.parameters(
      ({"family": "sit"}, "of family 'sit'; expected one of autoencoder_kl"),
      ({"image_channels": 1}, "of images with 1 channels; expected 3"))
  def test_other_models_are_refused(self, changes, message):
    made = record.read(encoding.autoencoder())
    made |= {"family": changes.get("family", made["family"]),
             "architecture": made["architecture"] | changes}
    with absltest.mock.patch.object(record, "read", return_value=made):
      with self.assertRaisesRegex(ValueError, message):
        Encoder("runs/other", 16, 8)


if __name__ == "__main__":
  absltest.main()
