import json
import shutil
import struct
import sys
from unittest import mock

from absl.testing import absltest, parameterized

from ntm.conversion import converter
from tests.helpers import toy


class SafetensorsFilesTest(toy.ToyTest):

  def _shards(self):
    tensors = toy.tensors()
    names = sorted(tensors)
    places = {name: f"model-{1 + (i >= 2)}.safetensors" for i, name in enumerate(names)}
    for shard in set(places.values()):
      self.save({n: tensors[n] for n in names if places[n] == shard}, self.directory / shard)
    index = self.directory / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    return index, tensors, places

  def test_shards(self):
    index, tensors, _ = self._shards()
    for source in (index, self.directory):
      converter.convert(toy.FAMILY, source, self.target)
      back = self.directory / "all.safetensors"
      converter.export(self.target, back, toy.FAMILY)
      self.assert_bits(back, tensors)
      shutil.rmtree(self.target)
      back.unlink()

  def test_shards_that_do_not_agree(self):
    index, _, places = self._shards()
    del places["scale"]
    index.write_text(json.dumps({"weight_map": places}))
    with self.assertRaisesRegex(ValueError, "do not agree on scale"):
      converter.convert(toy.FAMILY, index, self.target)
    for wrong in (["scale"], {"scale": "sub/model-1.safetensors"}, 3):
      index.write_text(json.dumps({"weight_map": wrong}))
      with self.assertRaisesRegex(ValueError, "index.json is not an index of shards"):
        converter.convert(toy.FAMILY, index, self.target)
    places["scale"] = "model-2.safetensors"
    index.write_text(json.dumps({"weight_map": places, "metadata": {"total_size": 5}}))
    with self.assertRaisesRegex(ValueError, "index.json gives total_size 5, but its shards hold"):
      converter.convert(toy.FAMILY, index, self.target)
    index.write_text('{"weight_map": {"scale": "a", "scale": "b"}}')
    with self.assertRaisesRegex(ValueError, "index.json is not an index .*'scale' is given twice"):
      converter.convert(toy.FAMILY, index, self.target)
    index.write_text(json.dumps({"weight_map": places | {"scale": "folder.safetensors"}}))
    (self.directory / "folder.safetensors").mkdir()
    with self.assertRaisesRegex(ValueError, "folder.safetensors is not a file, but"):
      converter.convert(toy.FAMILY, index, self.target)
    index.write_text(json.dumps({"weight_map": places}))
    (self.directory / "model-1.safetensors").unlink()
    with self.assertRaisesRegex(FileNotFoundError, "model-1.safetensors does not exist"):
      converter.convert(toy.FAMILY, index, self.target)

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

  @parameterized.parameters(0, 4, 100, -1)
  def test_truncated_file(self, size):
    self.save(toy.tensors())
    self.source.write_bytes(self.source.read_bytes()[:size])
    with self.assertRaisesRegex(ValueError, "^.*model.safetensors is damaged .*$"):
      converter.convert(toy.FAMILY, self.source, self.target)
    self.assert_nothing_left("model.safetensors")

  def test_header_of_written_files_is_padded(self):
    self.save(toy.tensors())
    converter.convert(toy.FAMILY, self.source, self.target)
    (length,) = struct.unpack("<Q", (self.target / "ignored.safetensors").read_bytes()[:8])
    self.assertEqual(length % 8, 0)


class _Evil:
  """Runs code when it is unpickled."""

  ran = False

  def test_missing_library(self):
    self.save(toy.tensors())
    with mock.patch.dict(sys.modules, {"safetensors": None}):
      with self.assertRaisesRegex(ImportError, r"pip install 'ntm\[convert\]'"):
        converter.convert(toy.FAMILY, self.source, self.target)


if __name__ == "__main__":
  absltest.main()
