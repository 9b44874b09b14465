import pathlib
import tempfile

import safetensors.torch
import torch
from absl.testing import absltest

from ntm.conversion import converter, families
from ntm.conversion import mapping as check_lib
from ntm.conversion.source_files import open_source
from ntm.published.inception import mapping
from tests.helpers import inception_pair


class InceptionMappingTest(absltest.TestCase):

  def test_there_and_back(self):
    """Every tensor is used or ignored, and the file is the same after convert and export."""
    directory = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    source, back = directory / "model.safetensors", directory / "back.safetensors"
    state = torch.load(inception_pair.weights_file(counters=True))
    safetensors.torch.save_file(state, source)
    self.assertEqual(families.matching(open_source(source).shapes), ["inception"])
    converter.convert(families.get("inception"), source, directory / "ours")
    converter.export(directory / "ours", back)
    self.assertEqual(source.read_bytes(), back.read_bytes())

  def test_every_tensor_of_the_published_file_is_used(self):
    """94 convolutions with four vectors each, and the readout."""
    shapes = open_source(inception_pair.weights_file()).shapes
    self.assertLen(shapes, 94 * 5 + 2)
    check_lib.check(mapping.entries({}), shapes, mapping.target_shapes({}), mapping.ignored({}))
    sizes = [torch.Size(shape).numel() for shape in mapping.target_shapes({}).values()]
    self.assertEqual(sum(sizes), sum(torch.Size(shape).numel() for shape in shapes.values()))

  def test_another_shape_is_refused_by_name(self):
    shapes = dict(open_source(inception_pair.weights_file()).shapes)
    for name in ("Conv2d_1a_3x3.conv.weight", "Mixed_6b.branch7x7_2.conv.weight",
                 "Mixed_7c.branch3x3_2a.bn.running_var", "fc.weight", "fc.bias"):
      shape = shapes[name]
      for other in {shape[::-1], (*shape, 1), shape[1:], (2 * shape[0], *shape[1:])} - {shape}:
        with self.subTest(name=name, shape=other), self.assertRaisesRegex(ValueError, name):
          changed = shapes | {name: other}
          mapping.recognise(changed)
          check_lib.check(mapping.entries({}), changed, mapping.target_shapes({}),
                          mapping.ignored({}))

  def test_torchvisions_inception_is_refused_by_its_logits(self):
    shapes = dict(open_source(inception_pair.weights_file()).shapes) | {"fc.weight": (1000, 2048)}
    with self.assertRaisesRegex(ValueError, "fc.weight .*gives 1000 logits; expected 1008"):
      mapping.recognise(shapes)
    self.assertIsNone(mapping.recognise({"fc.weight": (1008, 2048)}))


if __name__ == "__main__":
  absltest.main()
