import contextlib
import dataclasses
import io

import numpy as np
from absl.testing import absltest, parameterized

from ntm.conversion import converter, families
from tests.helpers import toy


class PlanTest(toy.ToyTest):

  def test_dry_run_prints_the_mapping_and_writes_nothing(self):
    self.save(toy.tensors())
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
      converter.convert(toy.FAMILY, self.source, self.target, "bfloat16", dry_run=True)
    lines = out.getvalue().splitlines()
    self.assertIn("fused.weight [6, 5] float32 rows 4:6 → key/kernel [5, 2] bfloat16", lines)
    self.assertIn("blocks.2.weight [2, 7] float32 → blocks/kernel[2] [3, 7, 2] bfloat16", lines)
    self.assertIn("count [] is not used by the model: a count", lines)
    self.assertLen(lines, 7)
    self.assert_nothing_left("model.safetensors")

  @parameterized.named_parameters(
      ("missing", {"scale": None}, "missing in the file: scale"),
      ("surplus", {"extra": np.zeros(2)}, "surplus in the file: extra"),
      ("shape", {"blocks.1.weight": np.zeros((7, 2))}, "blocks.1.weight .* does not fit"))
  def test_tensors_that_do_not_match(self, change, message):
    tensors = {k: v for k, v in (toy.tensors() | change).items() if v is not None}
    self.save(tensors)
    for dry_run in (False, True):
      with self.assertRaisesRegex(ValueError, message):
        converter.convert(toy.FAMILY, self.source, self.target, dry_run=dry_run)
    self.assert_nothing_left("model.safetensors")

  @parameterized.named_parameters(
      ("sit", "sit", {"x_embedder.proj.weight": (1152, 4, 2, 2), "pos_embed": (256, 1152),
                      "y_embedder.embedding_table.weight": (1001, 1152),
                      "blocks.0.mlp.fc1.weight": (4608, 1152),
                      "final_layer.linear.weight": (32, 1152)}, r"pos_embed has .*\[256, 1152\]"),
      ("tarflow", "tarflow", {"var": (16, 12), "blocks.0.proj_in.weight": (96, 12),
                              "blocks.0.attn_blocks.0.mlp.main.0.weight": (384, 96),
                              "blocks.0.proj_out.weight": (24, 96)}, "this TarFlow is 96 wide"))
  def test_sizes_that_the_family_does_not_have(self, name, shapes, message):
    self.save({tensor: np.zeros(shape, np.float16) for tensor, shape in shapes.items()})
    with self.assertRaisesRegex(ValueError, f"model.safetensors has the tensors of family {name}, "
                                            f"but {message}"):
      converter.convert(families.get(name), self.source, self.target)
    with self.assertRaisesRegex(ValueError, f"is not of family flux2; it looks like {name}"):
      converter.convert(families.get("flux2"), self.source, self.target)

  def test_settings_come_from_the_config_beside_the_file(self):
    self.save(toy.tensors())
    family = dataclasses.replace(toy.FAMILY, configure=self._configure)
    config = self.directory / "config.json"
    for text, message in ((None, "config.json does not exist; family toy needs it"),
                          ("{", r"config.json cannot be read \(.*\); download it again"),
                          ("[]", "cannot be read .it is not a JSON object"),
                          ('{"base": 0}', "config.json does not describe a model of family toy: "
                                          "its base is 0.$")):
      if text:
        config.write_text(text)
      with self.assertRaisesRegex(ValueError if text else FileNotFoundError, message):
        converter.convert(family, self.source, self.target)
    config.write_text('{"base": 7, "other": null}')
    converter.convert(family, self.source, self.target)
    self.assertEqual(converter.load(self.target)[1], {"layers": toy.LAYERS, "base": 7})
    converter.export(self.target, self.directory / "back.safetensors", family)
    self.assert_bits(self.directory / "back.safetensors", toy.tensors())

  def _configure(self, architecture, values):
    if not values["base"]:
      raise ValueError("its base is 0")
    return architecture | {"base": values["base"]}


if __name__ == "__main__":
  absltest.main()
