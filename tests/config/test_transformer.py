"""Sizes of a stack of layers that do not fit together are named."""

from absl.testing import absltest, parameterized

from ntm.config import TransformerConfig
from ntm.config.transformer import check_transformer


class TransformerTest(parameterized.TestCase):

  @parameterized.parameters(
      ({"layers": 0}, "denoiser.layers is 0; expected at least 1"),
      ({"mlp_ratio": 0}, "denoiser.mlp_ratio is 0; expected at least 1"),
      ({"num_heads": 3}, "denoiser.num_heads is 3; .* width 128"),
      ({"width": 12}, "denoiser.num_heads is 4; .* width 12 into even head widths"),
      ({"num_kv_heads": 3}, "denoiser.num_kv_heads is 3; .* num_heads 4"),
      ({"num_kv_heads": 8}, "denoiser.num_kv_heads is 8; .* num_heads 4"),
      ({"width": 8}, "denoiser.num_heads is 4; expected head widths of at least 4 for 2"))
  def test_mistakes_are_named(self, sizes, message):
    with self.assertRaisesRegex(ValueError, message):
      check_transformer("denoiser", TransformerConfig(**sizes), axes=2)

  def test_every_axis_takes_a_pair_of_entries_of_a_head(self):
    narrow = TransformerConfig(width=16)
    check_transformer("denoiser", narrow, axes=2)
    with self.assertRaisesRegex(ValueError, "at least 6 for 3 rotary axes"):
      check_transformer("denoiser", narrow, axes=3)


if __name__ == "__main__":
  absltest.main()
