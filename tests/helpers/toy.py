"""A small family with every kind of entry, and a test case with a directory for its files."""

import pathlib
import tempfile

import numpy as np
import safetensors.numpy
from absl.testing import parameterized

from ntm.conversion import converter
from ntm.conversion.families import Family
from ntm.conversion.mapping import Entry
from ntm.conversion.source_files import open_source
from ntm.conversion.transforms import linear

LAYERS = 3
ENTRIES = [
    Entry("fused.weight", "query/kernel", linear((2, 2)), rows=(0, 4)),
    Entry("fused.weight", "key/kernel", linear(), rows=(4, 6)),
    Entry("blocks.{i}.weight", "blocks/kernel", linear(), layers=LAYERS),
    Entry("scale", "scale"),
]
TARGET = {"query/kernel": (5, 2, 2), "key/kernel": (5, 2), "blocks/kernel": (LAYERS, 7, 2),
           "scale": ()}
FAMILY = Family(
    "toy", lambda shapes: {"layers": LAYERS} if "fused.weight" in shapes else None,
    lambda architecture: ENTRIES, lambda architecture: TARGET,
    lambda architecture: {"count": "a count"})


def tensors(dtype=np.float32):
  """The tensors of a file of the family, random."""
  rng = np.random.default_rng(0)
  shapes = {"fused.weight": (6, 5), "scale": (),
            **{f"blocks.{i}.weight": (2, 7) for i in range(LAYERS)}}
  return {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()} | {
      "count": np.array(5)}


def _bits(array):
  return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


class ToyTest(parameterized.TestCase):
  """A directory per test, with a source file of theirs and a target of ours."""

  def setUp(self):
    super().setUp()
    self.directory = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    self.source = self.directory / "model.safetensors"
    self.target = self.directory / "ours"

  def save(self, tensors, path=None, **kwargs):
    safetensors.numpy.save_file(tensors, path or self.source, **kwargs)

  def convert(self):
    """Converts random tensors; the files of the target."""
    self.save(tensors())
    converter.convert(FAMILY, self.source, self.target)
    return sorted(path for path in self.target.rglob("*") if path.is_file())

  def assert_nothing_left(self, *names):
    self.assertCountEqual([path.name for path in self.directory.iterdir()], names)

  def assert_bits(self, path, tensors):
    written = open_source(path)
    self.assertEqual(set(written.specs), set(tensors))
    for name, array in tensors.items():
      self.assertEqual((written.read(name).dtype, written.read(name).shape),
                       (array.dtype, array.shape))
      np.testing.assert_array_equal(_bits(written.read(name)), _bits(array))
