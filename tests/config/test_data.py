"""Settings of the data that make no sense are named."""

from absl.testing import absltest, parameterized

from ntm import config as config_lib


def _plane(**data):
  """A config of points of the plane."""
  return {"data": {"source": "mixture"} | data,
          "model": {"image_shape": (2, 1), "patch_shape": (1,), "num_classes": 0}}


class DataConfigTest(parameterized.TestCase):

  @parameterized.parameters(
      ({"data": {"test_fraction": 0.0}}, "test_fraction is 0.0; expected a share strictly"),
      ({"data": {"test_fraction": 1.0}}, "test_fraction is 1.0; expected a share strictly"),
      ({"data": {"left_out": 10}}, "left_out is 10; expected a digit"),
      ({"data": {"source": "folder", "left_out": 3}}, "left_out is 3; .* data.source 'digits'"),
      ({"data": {"source": "folder", "augment": True}}, "augment is True; .* 'digits'"),
      ({"data": {"path": "a"}}, r"path is 'a'; .* of files, .*\(--config.data.path=''\)"),
      (_plane(path="a", data_dir="b"), "=''.--config.data.data_dir=''"),
      ({"data": {"source": "shards", "path": "a", "data_dir": "b"}},
       "data_dir is 'b'; expected '' without data.source 'tfds'"),
      ({"data": {"noise": 0.1}}, "noise is 0.1; .* without data.source 'mixture', which alone"),
      ({"data": {"source": "mixture"}}, r"image_shape is \(8, 8, 1\); expected \(2, 1\), a point"),
      (_plane(noise=0.0), "noise is 0.0; expected a positive"),
      (_plane(mixture="ring9"), "mixture is 'ring9'; expected one of grid25, ring8"),
      (_plane(mixture="checkerboard", noise=0.1), "noise is 0.1; .* a data.mixture of Gaussians"),
      (_plane(num_templates=4), "num_templates is 4; .* without data.mixture 'templates'"),
      (_plane(mixture="templates"), r"image_shape is \(2, 1\); expected \(height, width, 1\)"),
      (_plane(mixture="templates", num_templates=0), "num_templates is 0; expected 1 to 1000"))
  def test_mistakes_are_named(self, values, message):
    with self.assertRaisesRegex(ValueError, message):
      config_lib.from_dict(values)

  def test_sources_of_files_and_extensions_have_paths(self):
    for source in ("folder", "tfds", "arrays", "module:name"):
      config_lib.from_dict({"data": {"source": source, "path": "a"}})
    for source in ("tfds", "module:name"):
      config_lib.from_dict({"data": {"source": source, "path": "a", "data_dir": "b"}})

  def test_mixtures_of_glyphs_have_their_own_shapes(self):
    config = config_lib.from_dict({"data": {"source": "mixture", "mixture": "templates"}})
    self.assertEqual(config.model.image_shape, (8, 8, 1))
    config = config_lib.from_dict(_plane(mixture="ring8", noise=0.1))
    self.assertIsInstance(config.data, config_lib.DataConfig)


if __name__ == "__main__":
  absltest.main()
