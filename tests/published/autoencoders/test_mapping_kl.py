import jax
import numpy as np
import torch
from absl.testing import absltest, parameterized
from diffusers import AutoencoderKL

from ntm.published.autoencoders import mapping_kl
from ntm.published.autoencoders import model as autoencoder
from tests.helpers import autoencoder_pair


class MappingKLTest(parameterized.TestCase):

  def test_files_with_old_names_of_attention(self):
    state = autoencoder_pair.theirs("kl").state_dict()
    renamed = {}
    for name, tensor in state.items():
      if ".attentions." in name:
        for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"),
                         ("to_out.0", "proj_attn")):
          name = name.replace(f".{new}.", f".{old}.")
      renamed[name] = tensor
    self.assertNotEqual(set(renamed), set(state))
    jax.tree.map(np.testing.assert_array_equal, autoencoder_pair.ours("kl", state)[1],
                 autoencoder_pair.ours("kl", renamed)[1])

  @parameterized.parameters("kl", "kl_plain")
  def test_there_and_back(self, which):
    autoencoder_pair.assert_there_and_back(self, which)

  def test_published_shapes(self):
    """The full-size model is recognised as what its config says."""
    with torch.device("meta"):
      model = AutoencoderKL(
          block_out_channels=(128, 256, 512, 512), layers_per_block=2,
          down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4)
    shapes = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    architecture = mapping_kl.recognise(shapes)
    self.assertEqual(mapping_kl.config(architecture), autoencoder.AutoencoderConfig())


if __name__ == "__main__":
  absltest.main()
