import json
import pathlib
import tempfile

import numpy as np
import safetensors.numpy
from absl.testing import absltest, parameterized

from ntm.conversion import converter, families, mapping
from ntm.conversion.source_files import open_source
from ntm.published.qwen import mapping as qwen_mapping
from ntm.published.qwen import model as qwen
from tests.helpers import qwen_pair

torch, transformers = qwen_pair.torch, qwen_pair.transformers

# As the config.json files on the hub say.
_4B = dict(vocab_size=151936, hidden_size=2560, intermediate_size=9728, num_hidden_layers=36,
           num_attention_heads=32, num_key_value_heads=8, head_dim=128, rms_norm_eps=1e-6,
           rope_parameters={"rope_type": "default", "rope_theta": 1e6}, tie_word_embeddings=True)
_8B = {**_4B, "hidden_size": 4096, "intermediate_size": 12288, "tie_word_embeddings": False}
_7B = dict(vocab_size=152064, hidden_size=3584, intermediate_size=18944, num_hidden_layers=28,
           num_attention_heads=28, num_key_value_heads=4, rms_norm_eps=1e-6,
           rope_parameters={"rope_type": "default", "rope_theta": 1e6,
                            "mrope_section": [16, 24, 24]})


def _full_size(name):
  """The published model on the meta device."""
  with torch.device("meta"):
    if name != "VL-7B":
      sizes = {"4B": _4B, "8B": _8B}[name]
      return transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**sizes))
    return transformers.Qwen2_5_VLForConditionalGeneration(
        transformers.Qwen2_5_VLConfig(text_config=_7B, vision_config={"hidden_size": 1280}))


class MappingTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.directory = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    self.source, self.target = self.directory / "theirs", self.directory / "ours"

  @parameterized.parameters(("qwen3", True), ("qwen3", False), ("qwen2_5_vl", False))
  def test_shards_there_and_back(self, family, tied):
    model = qwen_pair.language_model(family, tie_word_embeddings=tied).to(torch.bfloat16)
    model.save_pretrained(self.source, max_shard_size="10KB")
    tensors = open_source(self.source)
    self.assertGreater(len(tensors.paths), 2)
    self.assertEqual(families.matching(tensors.shapes), [family])
    self.assertEqual("lm_head.weight" in tensors.specs, not tied)
    converter.convert(families.get(family), self.source, self.target)
    name, architecture, params = converter.load(self.target)
    config = qwen_mapping.config(architecture)
    self.assertEqual((name, config), (family, qwen_pair.pair(family)[1]))
    # The numbers are those of a text model alone, whatever else the file holds.
    text = model.model if family == "qwen3" else model.model.language_model
    np.testing.assert_array_equal(params["embed"].astype(np.float32),
                                  text.embed_tokens.weight.detach().float().numpy())
    np.testing.assert_array_equal(
        params["layers"]["mlp"]["down"]["kernel"][1].astype(np.float32),
        text.layers[1].mlp.down_proj.weight.detach().float().numpy().T)
    back = self.directory / "back.safetensors"
    converter.export(self.target, back)
    written = safetensors.numpy.load_file(back)
    self.assertEqual(written.keys(), tensors.specs.keys())
    for tensor, array in written.items():
      self.assertEqual(array.tobytes(), tensors.read(tensor).tobytes(), tensor)

  @parameterized.parameters(*qwen_pair.FAMILIES)
  def test_text_models_alone_under_every_name(self, family):
    theirs, config, _ = qwen_pair.pair(family)
    text = theirs.model if family == "qwen3" else theirs.model.language_model
    for prefix in ("", "model.", "language_model.", "model.language_model."):
      shapes = {prefix + name: tuple(a.shape) for name, a in text.state_dict().items()}
      architecture = qwen_pair.architecture_of(family, shapes, theirs.config)
      self.assertEqual((architecture["prefix"], architecture["vision_blocks"]), (prefix, 0))
      self.assertEqual(qwen_mapping.config(architecture), config)
      mapping.check(qwen_mapping.entries(architecture), shapes,
                    qwen_mapping.target_shapes(architecture), qwen_mapping.ignored(architecture))

  @parameterized.parameters(("qwen3", "head_dim", 8), ("qwen3", "num_hidden_layers", 4),
                            ("qwen2_5_vl", "intermediate_size", 41))
  def test_config_of_another_size_is_refused(self, family, name, value):
    qwen_pair.language_model(family).save_pretrained(self.source)
    path = self.source / "config.json"
    values = json.loads(path.read_text())
    values.get("text_config", values)[name] = value
    path.write_text(json.dumps(values))
    with self.assertRaisesRegex(ValueError, "do not match:(.|\n)*layers.*(missing|does not fit)"
                                            "|missing in the file: model.layers.3"):
      converter.convert(families.get(family), self.source, self.target)

  def test_tensors_of_no_known_use_are_refused(self):
    theirs, _, _ = qwen_pair.pair("qwen2_5_vl")
    shapes = {name: tuple(a.shape) for name, a in theirs.state_dict().items()}
    shapes["model.visual.blocks.0.extra"] = (3,)
    architecture = qwen_pair.architecture_of("qwen2_5_vl", shapes, theirs.config)
    with self.assertRaisesRegex(ValueError, "surplus in the file: model.visual.blocks.0.extra"):
      mapping.check(qwen_mapping.entries(architecture), shapes,
                    qwen_mapping.target_shapes(architecture), qwen_mapping.ignored(architecture))
    del shapes["model.visual.blocks.1.norm2.weight"]
    with self.assertRaisesRegex(ValueError, "model.visual.blocks.1.norm2.weight is missing"):
      qwen_mapping.recognise_qwen2_5_vl(shapes)

  def test_another_file_is_not_recognised(self):
    self.assertIsNone(qwen_mapping.recognise_qwen3({}))
    self.assertIsNone(qwen_mapping.recognise_qwen2_5_vl({"embed_tokens.weight": (3, 4)}))

  @parameterized.parameters(
      ("4B", "qwen3", qwen.QWEN3_4B, 4_022_468_096, 0),
      ("8B", "qwen3", qwen.QWEN3_8B, 8_190_735_360, 151936 * 4096),
      ("VL-7B", "qwen2_5_vl", qwen.QWEN2_5_VL_7B, 8_292_166_656, 152064 * 3584 + 676_550_144))
  def test_published_sizes(self, name, family, config, num_published, num_ignored):
    model = _full_size(name)
    shapes = {key: tuple(a.shape) for key, a in model.state_dict().items()}
    architecture = qwen_pair.architecture_of(family, shapes, model.config)
    self.assertEqual(qwen_mapping.config(architecture), config)
    targets = qwen_mapping.target_shapes(architecture)
    mapping.check(qwen_mapping.entries(architecture), shapes, targets,
                  qwen_mapping.ignored(architecture))
    self.assertEqual(sum(int(np.prod(shape)) for shape in targets.values()),
                     num_published - num_ignored)
    self.assertEqual(sum(a.numel() for a in model.parameters()), num_published)


if __name__ == "__main__":
  absltest.main()
