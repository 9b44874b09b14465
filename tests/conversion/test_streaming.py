"""Damaged files of converted parameters are refused in one line, never read as other numbers."""

import json
import shutil

import jax
import ml_dtypes
import numpy as np
from absl.testing import absltest, parameterized
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ntm.conversion import converter, streaming
from ntm.conversion.tensors import TensorSpec
from tests.helpers import toy


class StreamingTest(toy.ToyTest):

  @parameterized.parameters(1, 64)
  def test_flipped_bytes_in_any_converted_file_never_give_other_numbers(self, count):
    """What is loaded or exported is what was converted, or there is an error in one line."""
    files, rng = self.convert(), np.random.default_rng(0)
    self.assertGreater(len(files), 10)
    loaded = converter.load(self.target)
    back, seen = self.directory / "back.safetensors", set()
    for path in files:
      whole = path.read_bytes()
      content = np.frombuffer(whole, np.uint8).copy()
      places = rng.choice(len(content), min(count, len(content)), replace=False)
      content[places] ^= rng.integers(1, 256, len(places), np.uint8)
      path.write_bytes(content.tobytes())
      with self.subTest(file=str(path.relative_to(self.target))):
        try:
          family, architecture, params = converter.load(self.target)
          self.assertEqual((family, architecture), loaded[:2])
          jax.tree.map(np.testing.assert_array_equal, params, loaded[2])
        except (ValueError, FileNotFoundError) as error:
          self.assertRegex(str(error), r"\A[^\n]{10,600}\Z")
          self.assertNotIn("tensorstore_spec", str(error))
          seen.add(path.name)
        try:
          converter.export(self.target, back, toy.FAMILY)
          self.assertEqual(back.read_bytes(), self.source.read_bytes())
          back.unlink()
        except (ValueError, FileNotFoundError) as error:
          self.assertRegex(str(error), r"\A[^\n]{10,600}\Z")
          self.assertNotIn("tensorstore_spec", str(error))
          seen.add(path.name)
      path.write_bytes(whole)
    self.assert_nothing_left("model.safetensors", "ours")
    self.assertContainsSubset({"0.0.0", "conversion.json", "ignored.safetensors"}, seen)

  def test_numbers_that_the_format_does_not_protect_are_compared(self):
    """Orbax reads a part of a leaf in the place of another without complaint."""
    self.convert()
    leaf = self.target / "checkpoints" / "0" / "ema" / "blocks.kernel"
    (leaf / "1.0.0").write_bytes((leaf / "2.0.0").read_bytes())
    with self.assertRaisesRegex(ValueError, "ours is damaged .*ema/blocks/kernel differ from what"):
      converter.load(self.target)
    with self.assertRaisesRegex(ValueError, "^blocks/kernel in .*ours is damaged"):
      converter.export(self.target, self.directory / "back.safetensors", toy.FAMILY)
    self.assert_nothing_left("model.safetensors", "ours")

  def test_parts_are_read_where_they_belong_and_verified(self):
    self.convert()
    mesh = Mesh(np.array(jax.devices()[:2]), ("devices",))
    params = converter.read(self.target)[2]

    def sharding(leaf):
      """Over the last axis of an even size, if there is one."""
      axes = [axis for axis, size in enumerate(leaf.shape) if size % 2 == 0][-1:]
      return NamedSharding(mesh, PartitionSpec(*(
          "devices" if axis in axes else None for axis in range(leaf.ndim))))

    shardings = jax.tree.map(sharding, params)
    parts = converter.read(self.target, shardings)[2]
    jax.tree.map(np.testing.assert_array_equal, parts, params)
    for ours, theirs, wanted in zip(*map(jax.tree.leaves, (parts, params, shardings))):
      self.assertEqual((ours.dtype, ours.sharding), (theirs.dtype, wanted))
    leaf = self.target / "checkpoints" / "0" / "ema" / "blocks.kernel"
    (leaf / "1.0.0").write_bytes((leaf / "2.0.0").read_bytes())
    with self.assertRaisesRegex(ValueError, "ours is damaged .*ema/blocks/kernel differ from what"):
      converter.read(self.target, shardings)

  def test_a_lost_file_is_an_error_not_zeros(self):
    self.save(toy.tensors())
    converter.convert(toy.FAMILY, self.source, self.target)
    (self.target / "checkpoints" / "0" / "ema" / "blocks.kernel" / "1.0.0").unlink()
    with self.assertRaisesRegex(ValueError, "blocks.kernel/1.0.0"):
      converter.export(self.target, self.directory / "back.safetensors", toy.FAMILY)
    self.assert_nothing_left("model.safetensors", "ours")
    with self.assertRaises(ValueError):
      converter.load(self.target)

  def test_a_directory_of_before_there_were_checksums_is_read(self):
    self.convert()
    shutil.rmtree(self.target / "checkpoints" / "0" / "checksums")
    made = json.loads((self.target / "conversion.json").read_text())
    del made["checksum"], made["ignored_sha256"]
    (self.target / "conversion.json").write_text(json.dumps(made))
    self.assertEqual(converter.load(self.target)[0], "toy")
    converter.export(self.target, self.directory / "back.safetensors", toy.FAMILY)
    self.assertEqual((self.directory / "back.safetensors").read_bytes(), self.source.read_bytes())

  def test_large_leaves_are_cut_into_small_files(self):
    for leaf, expected in (
        (streaming.Leaf(TensorSpec((20, 3072, 9216), np.dtype(ml_dtypes.bfloat16)), True, None),
         (1, 3072, 4608)),
        (streaming.Leaf(TensorSpec((3072, 9216), np.dtype(np.float32)), False, None), (3072, 2304)),
        (streaming.Leaf(TensorSpec((64, 2), np.dtype(np.float32)), False, None), (64, 2)),
        (streaming.Leaf(TensorSpec((), np.dtype(np.float32)), False, None), ())):
      self.assertSequenceEqual(streaming._chunk_shape(leaf), expected)


if __name__ == "__main__":
  absltest.main()
