"""Damaged files and numbers: refused in one line, in sources and in converted directories."""

import json
import shutil
import struct
from unittest import mock

import jax
import ml_dtypes
import numpy as np
import torch
from absl.testing import absltest, parameterized

from ntm.conversion import converter, inspection
from ntm.conversion.mapping import Entry, Family
from ntm.conversion.readers import open_files
from tests.helpers import toy


class DamageTest(toy.ToyTest):

  @parameterized.parameters(np.nan, np.inf, -np.inf)
  def test_numbers_that_are_not_finite_are_refused_by_name(self, value):
    for dtype in (np.float32, ml_dtypes.bfloat16):
      tensors = toy.tensors(dtype)
      tensors["blocks.1.weight"][1, 3:5] = value
      self.save(tensors)
      with self.assertRaisesRegex(
          ValueError, r"^blocks.1.weight \[2, 7\] holds 2 numbers that are NaN or infinite"):
        converter.convert(toy.FAMILY, self.source, self.target)
      self.assert_nothing_left("model.safetensors")

  def test_numbers_beyond_the_range_of_the_type_asked_for(self):
    tensors = toy.tensors(np.float64)
    tensors["scale"] = np.array(1e300)
    self.save(tensors)
    with self.assertRaisesRegex(ValueError, "^scale holds numbers beyond the range of float32"):
      converter.convert(toy.FAMILY, self.source, self.target, "float32")
    self.assert_nothing_left("model.safetensors")

  @parameterized.parameters(np.int8, np.int64, np.uint8, np.bool_)
  def test_integers_and_booleans_are_no_parameters(self, dtype):
    self.save(toy.tensors() | {"blocks.1.weight": np.ones((2, 7), dtype)})
    for dry_run in (True, False):
      with self.assertRaisesRegex(ValueError, r"must be floating-point numbers: blocks.1.weight "
                                              rf"\[2, 7\] is {np.dtype(dtype)} \(for blocks/kern"):
        converter.convert(toy.FAMILY, self.source, self.target, dry_run=dry_run)
    self.assert_nothing_left("model.safetensors")

  def test_zeros_that_are_surely_damage(self):
    zeros = {name: np.zeros_like(array) for name, array in toy.tensors().items()}
    self.save(toy.tensors() | {"scale": zeros["scale"]})
    with self.assertRaisesRegex(ValueError, r"^scale \[\] holds gains that are all zero"):
      converter.convert(toy.FAMILY, self.source, self.target)
    ungained = [entry for entry in toy.ENTRIES if entry.target != "scale"]
    bare = Family("toy", toy.FAMILY.recognise, lambda _: ungained,
                  lambda _: {k: v for k, v in toy.TARGET.items() if k != "scale"},
                  toy.FAMILY.ignored)
    del zeros["scale"]
    self.save(zeros)
    with self.assertRaisesRegex(ValueError, "^all 4 tensors are zero"):
      converter.convert(bare, self.source, self.target)
    self.assert_nothing_left("model.safetensors")
    # A readout is zero in a model that was never trained.
    self.save(toy.tensors() | {"blocks.1.weight": zeros["blocks.1.weight"]})
    with self.assertLogs("ntm", "WARNING") as logs:
      converter.convert(toy.FAMILY, self.source, self.target)
    self.assertIn("1 weights are zero throughout, as blocks.1.weight", logs.output[0])

  def test_variances_are_positive(self):
    tensors = mock.Mock(read=lambda name: np.array([1.0, 0.0]), specs={})
    for target in ("var", "latent_var"):
      with self.assertRaisesRegex(ValueError, r"^v \[2\] holds variances that are not positive"):
        inspection.Inspector([Entry("v", target)], tensors).read("v")

  def _converted_files(self):
    self.save(toy.tensors())
    converter.convert(toy.FAMILY, self.source, self.target)
    files = sorted(path for path in self.target.rglob("*") if path.is_file())
    self.assertGreater(len(files), 10)
    return files

  @parameterized.parameters(1, 64)
  def test_flipped_bytes_in_any_converted_file_never_give_other_numbers(self, count):
    """What is loaded or exported is what was converted, or there is an error in one line."""
    files, rng = self._converted_files(), np.random.default_rng(0)
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
    """What is read without complaint: a part of the leaf in the place of another."""
    self._converted_files()
    leaf = self.target / "checkpoints" / "0" / "ema" / "blocks.kernel"
    (leaf / "1.0.0").write_bytes((leaf / "2.0.0").read_bytes())
    with self.assertRaisesRegex(ValueError, "ours is damaged .*ema/blocks/kernel differ from what"):
      converter.load(self.target)
    with self.assertRaisesRegex(ValueError, "^blocks/kernel in .*ours is damaged"):
      converter.export(self.target, self.directory / "back.safetensors", toy.FAMILY)
    self.assert_nothing_left("model.safetensors", "ours")

  def test_a_directory_of_before_there_were_checksums_is_read(self):
    self._converted_files()
    shutil.rmtree(self.target / "checkpoints" / "0" / "checksums")
    made = json.loads((self.target / "conversion.json").read_text())
    del made["checksum"], made["ignored_sha256"]
    (self.target / "conversion.json").write_text(json.dumps(made))
    self.assertEqual(converter.load(self.target)[0], "toy")
    converter.export(self.target, self.directory / "back.safetensors", toy.FAMILY)
    self.assertEqual((self.directory / "back.safetensors").read_bytes(), self.source.read_bytes())

  def test_leaves_of_another_shape_are_not_exported(self):
    self._converted_files()
    made = json.loads((self.target / "conversion.json").read_text())
    del made["checksum"]  # As of before there was one.
    made["tensors"]["blocks.1.weight"] = ["float32", 7, 2]
    (self.target / "conversion.json").write_text(json.dumps(made))
    with self.assertRaisesRegex(ValueError, r"blocks.1.weight \[7, 2\] does not fit"):
      converter.export(self.target, self.directory / "back.safetensors", toy.FAMILY)
    self.assert_nothing_left("model.safetensors", "ours")

  def _header(self, change):
    """The file with another header text."""
    whole = self.source.read_bytes()
    (size,) = struct.unpack("<Q", whole[:8])
    text = change(whole[8:8 + size].decode()).encode()
    self.source.write_bytes(struct.pack("<Q", len(text)) + text + whole[8 + size:])

  @parameterized.named_parameters(
      ("name_twice", lambda t: t.replace("{", '{"scale":{"dtype":"F32","shape":[],'
                                              '"data_offsets":[0,4]},', 1),
       "'scale' is given twice"),
      ("field_twice", lambda t: t.replace('"shape":[6,5]', '"shape":[5,6],"shape":[6,5]'),
       "is damaged"),
      ("shape", lambda t: t.replace("[6,5]", "[6,6]"), "is damaged"),
      ("offsets", lambda t: t.replace('"data_offsets":[8,', '"data_offsets":[4,'), "is damaged"),
      ("negative", lambda t: t.replace('"data_offsets":[8,', '"data_offsets":[-8,'), "is damaged"),
      ("float8", lambda t: t.replace('"F32"', '"F8_E4M3"'), "is damaged"),
      ("no_type", lambda t: t.replace('"F32"', '"F33"'), "is damaged"))
  def test_headers_that_do_not_hold(self, change, message):
    self.save(toy.tensors())
    before = self.source.read_bytes()
    self._header(change)
    self.assertNotEqual(self.source.read_bytes(), before)
    with self.assertRaisesRegex(ValueError, f"^[^\n]*model.safetensors[^\n]*{message}[^\n]*$"):
      converter.convert(toy.FAMILY, self.source, self.target)
    self.assert_nothing_left("model.safetensors")

  def test_flipped_bytes_in_pytorch_files(self):
    """Wherever they are, an error in one line or the numbers that were saved."""
    path, rng = self.directory / "model.pt", np.random.default_rng(0)
    tensors = {name: np.float32(array) for name, array in toy.tensors().items()}
    torch.save({name: torch.tensor(array) for name, array in tensors.items()}, path)
    whole, refused = np.frombuffer(path.read_bytes(), np.uint8), 0
    for place in rng.choice(len(whole), 60, replace=False):
      content = whole.copy()
      content[place] ^= rng.integers(1, 256, dtype=np.uint8)
      path.write_bytes(content.tobytes())
      with self.subTest(place=place):
        try:
          opened = open_files(path)
          self.assertEqual(set(opened.specs), set(tensors))
          for name, array in tensors.items():
            np.testing.assert_array_equal(opened.read(name), array, strict=True)
        except ValueError as error:
          self.assertRegex(str(error), r"^[^\n]*model.pt [^\n]*$")
          refused += 1
    self.assertGreater(refused, 10)  # The rest is padding, and names and times no one reads.
    weights = tensors["fused.weight"].tobytes()
    path.write_bytes(whole.tobytes().replace(weights, weights[::-1]))
    with self.assertRaisesRegex(ValueError, "model.pt is damaged: the checksum of .*data/.* does"):
      converter.convert(toy.FAMILY, path, self.target)

  def test_pytorch_files_without_checksums_are_read_with_a_warning(self):
    path = self.directory / "model.pt"
    was = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    self.addCleanup(torch.serialization.set_crc32_options, was)
    torch.save({name: torch.tensor(np.float32(a)) for name, a in toy.tensors().items()}, path)
    with self.assertLogs("ntm", "WARNING") as logs:
      self.assertLen(open_files(path).specs, 6)
    self.assertIn("model.pt was saved without checksums", logs.output[0])

  @parameterized.parameters(0, 4, 100, -1)
  def test_truncated_file(self, size):
    self.save(toy.tensors())
    self.source.write_bytes(self.source.read_bytes()[:size])
    with self.assertRaisesRegex(ValueError, "^.*model.safetensors is damaged .*$"):
      converter.convert(toy.FAMILY, self.source, self.target)
    self.assert_nothing_left("model.safetensors")


if __name__ == "__main__":
  absltest.main()
