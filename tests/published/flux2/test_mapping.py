import jax
import numpy as np
from absl.testing import absltest, parameterized
from flax import traverse_util

from ntm.conversion import mapping
from ntm.published.flux2 import mapping as flux2_mapping
from ntm.published.flux2 import model as model_lib
from tests.helpers import flux2_pair


class Flux2Test(parameterized.TestCase):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.theirs = flux2_pair.tensors(flux2_pair.transformer())
    cls.layouts = {"diffusers": cls.theirs,
                   "original": flux2_pair.original_layout(cls.theirs)}

  @parameterized.parameters("diffusers", "original")
  def test_sizes_come_from_the_shapes(self, layout):
    architecture = flux2_mapping.recognise({n: a.shape for n, a in self.layouts[layout].items()})
    self.assertEqual(architecture["layout"], layout)
    self.assertEqual(flux2_mapping.config(architecture), model_lib.Flux2Config(
        width=32, num_heads=2, double_layers=2, single_layers=2, text_width=24, in_channels=8,
        out_channels=8, axes=(4, 4, 4, 4), time_width=32))

  @parameterized.parameters("diffusers", "original")
  def test_there_and_back(self, layout):
    tensors = self.layouts[layout]
    _, tree = flux2_pair.read_tree(tensors)
    leaves = traverse_util.flatten_dict(tree, sep="/")
    architecture = flux2_mapping.recognise({name: a.shape for name, a in tensors.items()})
    back = dict(mapping.write(flux2_mapping.entries(architecture), leaves.__getitem__))
    self.assertEqual(back.keys(), tensors.keys())
    for name, array in tensors.items():
      np.testing.assert_array_equal(back[name], array, err_msg=name)

  def test_layouts_give_the_same_tree(self):
    trees = [flux2_pair.read_tree(tensors) for tensors in self.layouts.values()]
    self.assertEqual(trees[0][0], trees[1][0])
    jax.tree.map(np.testing.assert_array_equal, trees[0][1], trees[1][1])

  def test_original_layout_is_what_diffusers_reads(self):
    # The renaming above was written for these tests; this is another one.
    from diffusers.loaders import single_file_utils
    checkpoint = {name: flux2_pair.torch.from_numpy(array)
                  for name, array in self.layouts["original"].items()}
    back = single_file_utils.convert_flux2_transformer_checkpoint_to_diffusers(checkpoint)
    self.assertEqual(back.keys(), self.theirs.keys())
    for name, array in self.theirs.items():
      np.testing.assert_array_equal(back[name].numpy(), array, err_msg=name)

  @parameterized.parameters("diffusers", "original")
  def test_missing_and_surplus_tensors_are_reported(self, layout):
    shapes = {name: a.shape for name, a in self.layouts[layout].items()}
    architecture = flux2_mapping.recognise(shapes)
    last = flux2_mapping.entries(architecture)[-1].source.replace("{i}", "0")
    shapes["guidance_in.in_layer.weight"] = shapes.pop(last)
    with self.assertRaisesRegex(ValueError, f"missing in the file: {last}(.|\n)*"
                                "surplus in the file: guidance_in"):
      mapping.check(flux2_mapping.entries(architecture), shapes,
                    flux2_mapping.target_shapes(architecture), {})

  def test_another_file_is_not_recognised(self):
    self.assertIsNone(flux2_mapping.recognise({}))
    self.assertIsNone(flux2_mapping.recognise(
        {"x_embedder.weight": (32, 8), "proj_out.weight": (8, 32)}))

  @parameterized.parameters(("4B", model_lib.KLEIN_4B, 3_875_544_576, 169),
                            ("9B", model_lib.KLEIN_9B, 9_078_581_248, 233))
  def test_published_sizes(self, name, config, num_parameters, num_tensors):
    with flux2_pair.torch.device("meta"):
      shapes = flux2_pair.shapes(
          flux2_pair.diffusers.Flux2Transformer2DModel(**flux2_pair.KLEIN[name]))
    self.assertLen(shapes, num_tensors)
    architecture = flux2_mapping.recognise(shapes)
    self.assertEqual(flux2_mapping.config(architecture), config)
    targets = flux2_mapping.target_shapes(architecture)
    self.assertEqual(sum(int(np.prod(shape)) for shape in targets.values()), num_parameters)
    mapping.check(flux2_mapping.entries(architecture), shapes, targets, {})


if __name__ == "__main__":
  absltest.main()
