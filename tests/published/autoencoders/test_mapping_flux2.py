import torch
from absl.testing import absltest
from diffusers import AutoencoderKLFlux2

from ntm.published.autoencoders import mapping_flux2, mapping_kl
from ntm.published.autoencoders import model as autoencoder
from tests.helpers import autoencoder_pair


class MappingFlux2Test(absltest.TestCase):

  def test_there_and_back(self):
    autoencoder_pair.assert_there_and_back(self, "flux2")

  def test_published_shapes(self):
    """The full-size model is recognised as what its config says."""
    with torch.device("meta"):
      model = AutoencoderKLFlux2()
    shapes = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    architecture = mapping_flux2.recognise(shapes)
    self.assertEqual(mapping_kl.config(architecture), autoencoder.AutoencoderConfig(
        latent_channels=32, patch=2))


if __name__ == "__main__":
  absltest.main()
