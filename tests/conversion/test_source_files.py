from absl.testing import absltest

from ntm.conversion.source_files import open_source
from tests.helpers import toy


class SourceFilesTest(toy.ToyTest):

  def test_one_file_is_found_or_the_choice_is_named(self):
    with self.assertRaisesRegex(FileNotFoundError, "model.safetensors does not exist"):
      open_source(self.source)
    with self.assertRaisesRegex(FileNotFoundError, "holds neither"):
      open_source(self.directory)
    self.save(toy.tensors())
    self.assertEqual(open_source(self.directory).paths, [self.source])
    self.save(toy.tensors(), self.directory / "other.safetensors")
    with self.assertRaisesRegex(ValueError, "name one of them"):
      open_source(self.directory)
    with self.assertRaisesRegex(ValueError, "neither .safetensors nor .pt"):
      open_source(__file__)


if __name__ == "__main__":
  absltest.main()
