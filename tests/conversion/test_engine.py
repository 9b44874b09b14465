"""The engine on a small family of its own, with every kind of entry."""

import argparse
import contextlib
import errno
import io
import json
import pathlib
import pickle
import shutil
import struct
import sys
import tempfile
from unittest import mock

import jax
import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import safetensors.numpy
import torch
from absl.testing import absltest, parameterized

from ntm.conversion import damage, engine, families, record, store, targets
from ntm.conversion.files import open_files
from ntm.conversion.table import Entry, Family, linear

_LAYERS = 3
_ENTRIES = [
    Entry("fused.weight", "query/kernel", linear(2, 2), rows=(0, 4)),
    Entry("fused.weight", "key/kernel", linear(), rows=(4, 6)),
    Entry("blocks.{i}.weight", "blocks/kernel", linear(), layers=_LAYERS),
    Entry("scale", "scale"),
]
_TARGET = {"query/kernel": (5, 2, 2), "key/kernel": (5, 2), "blocks/kernel": (_LAYERS, 7, 2),
           "scale": ()}
FAMILY = Family(
    "toy", lambda shapes: {"layers": _LAYERS} if "fused.weight" in shapes else None,
    lambda architecture: _ENTRIES, lambda architecture: _TARGET,
    lambda architecture: {"count": "a count"})


def _tensors(dtype=np.float32):
  rng = np.random.default_rng(0)
  shapes = {"fused.weight": (6, 5), "scale": (),
            **{f"blocks.{i}.weight": (2, 7) for i in range(_LAYERS)}}
  return {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()} | {
      "count": np.array(5)}


def _bits(array):
  return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


class EngineTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    self.directory = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    self.source = self.directory / "model.safetensors"
    self.target = self.directory / "ours"

  def _save(self, tensors, path=None, **kwargs):
    safetensors.numpy.save_file(tensors, path or self.source, **kwargs)

  def _assert_nothing_left(self, *names):
    self.assertCountEqual([path.name for path in self.directory.iterdir()], names)

  def _assert_bits(self, path, tensors):
    written = open_files(path)
    self.assertEqual(set(written.specs), set(tensors))
    for name, array in tensors.items():
      self.assertEqual((written.read(name).dtype, written.read(name).shape),
                       (array.dtype, array.shape))
      np.testing.assert_array_equal(_bits(written.read(name)), _bits(array))

  @parameterized.parameters(np.float32, ml_dtypes.bfloat16, np.float16, np.float64)
  def test_there_and_back_is_the_same_file(self, dtype):
    tensors = _tensors(dtype)
    # Bits, not values, are kept.
    tensors["fused.weight"][0, :2] = -0.0, np.nextafter(np.zeros((), dtype), np.ones((), dtype))
    self._save(tensors, metadata={"format": "é"})  # Of several, the library's order varies.
    engine.convert(FAMILY, self.source, self.target)
    back = self.directory / "back.safetensors"
    engine.export(self.target, back, FAMILY)
    self.assertEqual(back.read_bytes(), self.source.read_bytes())
    self._assert_nothing_left("model.safetensors", "ours", "back.safetensors")

  def test_leaves_are_those_of_the_table_and_orbax_reads_them(self):
    tensors = _tensors(ml_dtypes.bfloat16)
    self._save(tensors)
    engine.convert(FAMILY, self.source, self.target)
    name, architecture, params = engine.load(self.target)
    self.assertEqual((name, architecture), ("toy", {"layers": _LAYERS}))
    self.assertEqual(params["blocks"]["kernel"].dtype, ml_dtypes.bfloat16)
    np.testing.assert_array_equal(params["blocks"]["kernel"][1], tensors["blocks.1.weight"].T)
    np.testing.assert_array_equal(params["query"]["kernel"].reshape(5, 4),
                                  tensors["fused.weight"][:4].T)
    # As a run restores: onto devices, in the types and shardings it asks for.
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:7]), ("x",))
    sharding = {3: jax.sharding.PartitionSpec(None, "x")}
    abstract = jax.tree.map(lambda a: jax.ShapeDtypeStruct(
        a.shape, np.float32, sharding=jax.sharding.NamedSharding(
            mesh, sharding.get(a.shape[0] if a.ndim else 0, jax.sharding.PartitionSpec()))),
        params)
    with ocp.CheckpointManager(self.target / "checkpoints") as manager:
      self.assertEqual(manager.all_steps(), [0])
      ema = manager.restore(0, args=ocp.args.Composite(
          ema=ocp.args.StandardRestore(abstract))).ema
    self.assertIsInstance(ema["scale"], jax.Array)
    self.assertLen(ema["blocks"]["kernel"].sharding.device_set, 7)
    np.testing.assert_array_equal(ema["blocks"]["kernel"],
                                  params["blocks"]["kernel"].astype(np.float32))

  def test_record(self):
    self._save(_tensors(), metadata={"format": "pt"})
    engine.convert(FAMILY, self.source, self.target, "bfloat16")
    made = json.loads((self.target / "conversion.json").read_text())
    self.assertEqual(made["family"], "toy")
    self.assertEqual(made["dtype"], "bfloat16")
    self.assertEqual(made["source"][0]["bytes"], self.source.stat().st_size)
    self.assertLen(made["source"][0]["sha256"], 64)
    self.assertEqual(made["tensors"]["fused.weight"], ["float32", 6, 5])
    self.assertEqual(made["ignored"], {"count": "a count"})

  def test_widened_comes_back_whole_and_narrowed_as_it_is(self):
    back = self.directory / "back.safetensors"
    narrow = _tensors(ml_dtypes.bfloat16)
    self._save(narrow)
    engine.convert(FAMILY, self.source, self.target, "float32")
    self.assertEqual(engine.load(self.target)[2]["scale"].dtype, np.float32)
    engine.export(self.target, back, FAMILY)
    self._assert_bits(back, narrow)

    self._save(_tensors(np.float32))
    engine.convert(FAMILY, self.source, self.directory / "narrowed", "bfloat16")
    back.unlink()
    engine.export(self.directory / "narrowed", back, FAMILY)
    self._assert_bits(back, narrow)  # The same draws, rounded in the same way.

  def test_mixed_types_come_back(self):
    tensors = _tensors(ml_dtypes.bfloat16)
    tensors["blocks.1.weight"] = _tensors(np.float32)["blocks.1.weight"]
    self._save(tensors)
    engine.convert(FAMILY, self.source, self.target)
    params = engine.load(self.target)[2]
    self.assertEqual(params["blocks"]["kernel"].dtype, np.float32)
    self.assertEqual(params["key"]["kernel"].dtype, ml_dtypes.bfloat16)
    engine.export(self.target, self.directory / "back.safetensors", FAMILY)
    self._assert_bits(self.directory / "back.safetensors", tensors)

  @parameterized.parameters(np.nan, np.inf, -np.inf)
  def test_numbers_that_are_not_finite_are_refused_by_name(self, value):
    for dtype in (np.float32, ml_dtypes.bfloat16):
      tensors = _tensors(dtype)
      tensors["blocks.1.weight"][1, 3:5] = value
      self._save(tensors)
      with self.assertRaisesRegex(
          ValueError, r"^blocks.1.weight \[2, 7\] holds 2 numbers that are NaN or infinite"):
        engine.convert(FAMILY, self.source, self.target)
      self._assert_nothing_left("model.safetensors")

  def test_numbers_beyond_the_range_of_the_type_asked_for(self):
    tensors = _tensors(np.float64)
    tensors["scale"] = np.array(1e300)
    self._save(tensors)
    with self.assertRaisesRegex(ValueError, "^scale holds numbers beyond the range of float32"):
      engine.convert(FAMILY, self.source, self.target, "float32")
    self._assert_nothing_left("model.safetensors")

  @parameterized.parameters(np.int8, np.int64, np.uint8, np.bool_)
  def test_integers_and_booleans_are_no_parameters(self, dtype):
    self._save(_tensors() | {"blocks.1.weight": np.ones((2, 7), dtype)})
    for dry_run in (True, False):
      with self.assertRaisesRegex(ValueError, r"must be floating-point numbers: blocks.1.weight "
                                              rf"\[2, 7\] is {np.dtype(dtype)} \(for blocks/kern"):
        engine.convert(FAMILY, self.source, self.target, dry_run=dry_run)
    self._assert_nothing_left("model.safetensors")

  def test_zeros_that_are_surely_damage(self):
    zeros = {name: np.zeros_like(array) for name, array in _tensors().items()}
    self._save(_tensors() | {"scale": zeros["scale"]})
    with self.assertRaisesRegex(ValueError, r"^scale \[\] holds gains that are all zero"):
      engine.convert(FAMILY, self.source, self.target)
    ungained = [entry for entry in _ENTRIES if entry.target != "scale"]
    bare = Family("toy", FAMILY.recognise, lambda _: ungained,
                  lambda _: {k: v for k, v in _TARGET.items() if k != "scale"}, FAMILY.ignored)
    del zeros["scale"]
    self._save(zeros)
    with self.assertRaisesRegex(ValueError, "^all 4 tensors are zero"):
      engine.convert(bare, self.source, self.target)
    self._assert_nothing_left("model.safetensors")
    # A readout is zero in a model that was never trained.
    self._save(_tensors() | {"blocks.1.weight": zeros["blocks.1.weight"]})
    with self.assertLogs("ntm", "WARNING") as logs:
      engine.convert(FAMILY, self.source, self.target)
    self.assertIn("1 weights are zero throughout, as blocks.1.weight", logs.output[0])

  def test_variances_are_positive(self):
    tensors = mock.Mock(read=lambda name: np.array([1.0, 0.0]), specs={})
    for target in ("var", "latent_var"):
      with self.assertRaisesRegex(ValueError, r"^v \[2\] holds variances that are not positive"):
        damage.Inspector([Entry("v", target)], tensors).read("v")

  def _converted_files(self):
    self._save(_tensors())
    engine.convert(FAMILY, self.source, self.target)
    files = sorted(path for path in self.target.rglob("*") if path.is_file())
    self.assertGreater(len(files), 10)
    return files

  @parameterized.parameters(1, 64)
  def test_flipped_bytes_in_any_converted_file_never_give_other_numbers(self, count):
    """What is loaded or exported is what was converted, or there is an error in one line."""
    files, rng = self._converted_files(), np.random.default_rng(0)
    loaded = engine.load(self.target)
    back, seen = self.directory / "back.safetensors", set()
    for path in files:
      whole = path.read_bytes()
      content = np.frombuffer(whole, np.uint8).copy()
      places = rng.choice(len(content), min(count, len(content)), replace=False)
      content[places] ^= rng.integers(1, 256, len(places), np.uint8)
      path.write_bytes(content.tobytes())
      with self.subTest(file=str(path.relative_to(self.target))):
        try:
          family, architecture, params = engine.load(self.target)
          self.assertEqual((family, architecture), loaded[:2])
          jax.tree.map(np.testing.assert_array_equal, params, loaded[2])
        except (ValueError, FileNotFoundError) as error:
          self.assertRegex(str(error), r"\A[^\n]{10,600}\Z")
          self.assertNotIn("tensorstore_spec", str(error))
          seen.add(path.name)
        try:
          engine.export(self.target, back, FAMILY)
          self.assertEqual(back.read_bytes(), self.source.read_bytes())
          back.unlink()
        except (ValueError, FileNotFoundError) as error:
          self.assertRegex(str(error), r"\A[^\n]{10,600}\Z")
          self.assertNotIn("tensorstore_spec", str(error))
          seen.add(path.name)
      path.write_bytes(whole)
    self._assert_nothing_left("model.safetensors", "ours")
    self.assertContainsSubset({"0.0.0", "conversion.json", "ignored.safetensors"}, seen)

  def test_numbers_that_the_format_does_not_protect_are_compared(self):
    """What is read without complaint: a part of the leaf in the place of another."""
    self._converted_files()
    leaf = self.target / "checkpoints" / "0" / "ema" / "blocks.kernel"
    (leaf / "1.0.0").write_bytes((leaf / "2.0.0").read_bytes())
    with self.assertRaisesRegex(ValueError, "ours is damaged .*ema/blocks/kernel differ from what"):
      engine.load(self.target)
    with self.assertRaisesRegex(ValueError, "^blocks/kernel in .*ours is damaged"):
      engine.export(self.target, self.directory / "back.safetensors", FAMILY)
    self._assert_nothing_left("model.safetensors", "ours")

  def test_a_directory_of_before_there_were_checksums_is_read(self):
    self._converted_files()
    shutil.rmtree(self.target / "checkpoints" / "0" / "checksums")
    made = json.loads((self.target / "conversion.json").read_text())
    del made["checksum"], made["ignored_sha256"]
    (self.target / "conversion.json").write_text(json.dumps(made))
    self.assertEqual(engine.load(self.target)[0], "toy")
    engine.export(self.target, self.directory / "back.safetensors", FAMILY)
    self.assertEqual((self.directory / "back.safetensors").read_bytes(), self.source.read_bytes())

  def test_leaves_of_another_shape_are_not_exported(self):
    self._converted_files()
    made = json.loads((self.target / "conversion.json").read_text())
    del made["checksum"]  # As of before there was one.
    made["tensors"]["blocks.1.weight"] = ["float32", 7, 2]
    (self.target / "conversion.json").write_text(json.dumps(made))
    with self.assertRaisesRegex(ValueError, r"blocks.1.weight \[7, 2\] does not fit"):
      engine.export(self.target, self.directory / "back.safetensors", FAMILY)
    self._assert_nothing_left("model.safetensors", "ours")

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
    self._save(_tensors())
    before = self.source.read_bytes()
    self._header(change)
    self.assertNotEqual(self.source.read_bytes(), before)
    with self.assertRaisesRegex(ValueError, f"^[^\n]*model.safetensors[^\n]*{message}[^\n]*$"):
      engine.convert(FAMILY, self.source, self.target)
    self._assert_nothing_left("model.safetensors")

  def _shards(self):
    tensors = _tensors()
    names = sorted(tensors)
    places = {name: f"model-{1 + (i >= 2)}.safetensors" for i, name in enumerate(names)}
    for shard in set(places.values()):
      self._save({n: tensors[n] for n in names if places[n] == shard}, self.directory / shard)
    index = self.directory / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    return index, tensors, places

  def test_shards(self):
    index, tensors, _ = self._shards()
    for source in (index, self.directory):
      engine.convert(FAMILY, source, self.target)
      back = self.directory / "all"
      engine.export(self.target, back.with_suffix(".safetensors"), FAMILY)
      self._assert_bits(back.with_suffix(".safetensors"), tensors)
      targets.remove(self.target)
      targets.remove(back.with_suffix(".safetensors"))

  def test_shards_that_do_not_agree(self):
    index, _, places = self._shards()
    del places["scale"]
    index.write_text(json.dumps({"weight_map": places}))
    with self.assertRaisesRegex(ValueError, "do not agree on scale"):
      engine.convert(FAMILY, index, self.target)
    for wrong in (["scale"], {"scale": "sub/model-1.safetensors"}, 3):
      index.write_text(json.dumps({"weight_map": wrong}))
      with self.assertRaisesRegex(ValueError, "index.json is no index of shards"):
        engine.convert(FAMILY, index, self.target)
    places["scale"] = "model-2.safetensors"
    index.write_text(json.dumps({"weight_map": places, "metadata": {"total_size": 5}}))
    with self.assertRaisesRegex(ValueError, "index.json gives total_size 5, but its shards hold"):
      engine.convert(FAMILY, index, self.target)
    index.write_text('{"weight_map": {"scale": "a", "scale": "b"}}')
    with self.assertRaisesRegex(ValueError, "index.json is no index .*'scale' is given twice"):
      engine.convert(FAMILY, index, self.target)
    index.write_text(json.dumps({"weight_map": places | {"scale": "folder.safetensors"}}))
    (self.directory / "folder.safetensors").mkdir()
    with self.assertRaisesRegex(ValueError, "folder.safetensors is not a file, but"):
      engine.convert(FAMILY, index, self.target)
    index.write_text(json.dumps({"weight_map": places}))
    (self.directory / "model-1.safetensors").unlink()
    with self.assertRaisesRegex(FileNotFoundError, "model-1.safetensors does not exist"):
      engine.convert(FAMILY, index, self.target)

  @parameterized.named_parameters(
      ("plain", lambda t: t, True), ("old_format", lambda t: t, False),
      ("model", lambda t: {"model": t, "epoch": 3}, True),
      ("ema_of_two", lambda t: {
          "model": {k: v + 1 for k, v in t.items()}, "ema": t, "opt": {"state": {}},
          "args": argparse.Namespace(lr=1.0)}, True))
  def test_pytorch_files(self, nest, zipped):
    tensors = _tensors(ml_dtypes.bfloat16)
    state = {name: torch.tensor(array.astype(np.int64 if name == "count" else np.float32))
             for name, array in tensors.items()}
    state = {name: t if name == "count" else t.bfloat16() for name, t in state.items()}
    # Another memory order, as a transposed weight is saved.
    state["fused.weight"] = state["fused.weight"].T.contiguous().T
    path = self.directory / "model.pt"
    torch.save(nest(state), path, _use_new_zipfile_serialization=zipped)
    engine.convert(FAMILY, path, self.target)
    engine.export(self.target, self.directory / "back.safetensors", FAMILY)
    self._assert_bits(self.directory / "back.safetensors", tensors)

  def test_pytorch_files_that_are_refused(self):
    path = self.directory / "model.pt"
    state = {name: torch.tensor(np.float32(array)) for name, array in _tensors().items()}
    for content, message in (
        ({**state, "f": _Evil()}, "whose code is not run"),
        ({"a": state, "b": state}, r"several state dicts \(a, b\)"),
        ([1, 2], "no dict of tensors")):
      torch.save(content, path)
      with self.assertRaisesRegex(ValueError, message):
        engine.convert(FAMILY, path, self.target)
    path.write_bytes(pickle.dumps(_Evil()))
    with self.assertRaisesRegex(ValueError, "whose code is not run"):
      engine.convert(FAMILY, path, self.target)
    torch.save({"a": torch.zeros(3, dtype=torch.float8_e4m3fn)}, path)
    with self.assertRaisesRegex(ValueError, "model.pt: a: numbers of type float8_e4m3fn are not "):
      engine.convert(FAMILY, path, self.target)
    for tensor, kind in (
        (torch.eye(3).to_sparse(), "sparse"), (torch.eye(3).to_sparse_csr(), "sparse"),
        (torch.empty(3, device="meta"), "without numbers"),
        (torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), "quantised"),
        (torch.ones(3, dtype=torch.complex64), "complex64")):
      torch.save({"a": tensor}, path)
      with self.assertRaisesRegex(ValueError, f"^[^\n]*model.pt: a[^\n]* {kind}[^\n]*$"):
        engine.convert(FAMILY, path, self.target)
    path.write_bytes(b"")
    with self.assertRaisesRegex(ValueError, "model.pt is damaged"):
      engine.convert(FAMILY, path, self.target)
    rng = np.random.default_rng(0)
    for zipped in (True, False):
      torch.save(state, path, _use_new_zipfile_serialization=zipped)
      whole = path.read_bytes()
      for size in (len(whole) - 100, *rng.integers(1, len(whole) - 8, 20)):
        path.write_bytes(whole[:size])
        with self.subTest(zipped=zipped, size=size):
          with self.assertRaisesRegex(ValueError, "model.pt (is damaged|holds no dict)"):
            engine.convert(FAMILY, path, self.target)
    self._assert_nothing_left("model.pt")
    self.assertFalse(_Evil.ran)

  def test_flipped_bytes_in_pytorch_files(self):
    """Wherever they are, an error in one line or the numbers that were saved."""
    path, rng = self.directory / "model.pt", np.random.default_rng(0)
    tensors = {name: np.float32(array) for name, array in _tensors().items()}
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
      engine.convert(FAMILY, path, self.target)

  def test_pytorch_files_without_checksums_are_read_with_a_warning(self):
    path = self.directory / "model.pt"
    was = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    self.addCleanup(torch.serialization.set_crc32_options, was)
    torch.save({name: torch.tensor(np.float32(a)) for name, a in _tensors().items()}, path)
    with self.assertLogs("ntm", "WARNING") as logs:
      self.assertLen(open_files(path).specs, 6)
    self.assertIn("model.pt was saved without checksums", logs.output[0])

  def test_dry_run_shows_all_and_writes_nothing(self):
    self._save(_tensors())
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
      engine.convert(FAMILY, self.source, self.target, "bfloat16", dry_run=True)
    lines = out.getvalue().splitlines()
    self.assertIn("fused.weight [6, 5] float32 rows 4:6 → key/kernel [5, 2] bfloat16", lines)
    self.assertIn("blocks.2.weight [2, 7] float32 → blocks/kernel[2] [3, 7, 2] bfloat16", lines)
    self.assertIn("count [] is kept aside: a count", lines)
    self.assertLen(lines, 7)
    self._assert_nothing_left("model.safetensors")

  @parameterized.parameters(0, 4, 100, -1)
  def test_truncated_file(self, size):
    self._save(_tensors())
    self.source.write_bytes(self.source.read_bytes()[:size])
    with self.assertRaisesRegex(ValueError, "^.*model.safetensors is damaged .*$"):
      engine.convert(FAMILY, self.source, self.target)
    self._assert_nothing_left("model.safetensors")

  @parameterized.named_parameters(
      ("missing", {"scale": None}, "missing in the file: scale"),
      ("surplus", {"extra": np.zeros(2)}, "surplus in the file: extra"),
      ("shape", {"blocks.1.weight": np.zeros((7, 2))}, "blocks.1.weight .* does not fit"))
  def test_tensors_that_do_not_match(self, change, message):
    tensors = {k: v for k, v in (_tensors() | change).items() if v is not None}
    self._save(tensors)
    for dry_run in (False, True):
      with self.assertRaisesRegex(ValueError, message):
        engine.convert(FAMILY, self.source, self.target, dry_run=dry_run)
    self._assert_nothing_left("model.safetensors")

  def test_wrong_family(self):
    self._save({"other": np.zeros(2)})
    with self.assertRaisesRegex(ValueError, "not of family toy; it looks like none of flux2"):
      engine.convert(FAMILY, self.source, self.target)
    with mock.patch.object(families, "matching", lambda shapes: ["sit"]):
      with self.assertRaisesRegex(ValueError, "it looks like sit"):
        engine.convert(FAMILY, self.source, self.target)
    with self.assertRaisesRegex(ValueError, "did you mean 'tarflow'"):
      families.get("tarflo")

  @parameterized.named_parameters(
      ("sit", "sit", {"x_embedder.proj.weight": (1152, 4, 2, 2), "pos_embed": (256, 1152),
                      "y_embedder.embedding_table.weight": (1001, 1152),
                      "blocks.0.mlp.fc1.weight": (4608, 1152),
                      "final_layer.linear.weight": (32, 1152)}, r"pos_embed has .*\[256, 1152\]"),
      ("tarflow", "tarflow", {"var": (16, 12), "blocks.0.proj_in.weight": (96, 12),
                              "blocks.0.attn_blocks.0.mlp.main.0.weight": (384, 96),
                              "blocks.0.proj_out.weight": (24, 96)}, "this TarFlow is 96 wide"))
  def test_a_family_of_sizes_it_does_not_have(self, name, shapes, message):
    self._save({tensor: np.zeros(shape, np.float16) for tensor, shape in shapes.items()})
    with self.assertRaisesRegex(ValueError, f"model.safetensors has the tensors of family {name}, "
                                            f"but {message}"):
      engine.convert(families.get(name), self.source, self.target)
    with self.assertRaisesRegex(ValueError, f"is not of family flux2; it looks like {name}"):
      engine.convert(families.get("flux2"), self.source, self.target)

  def test_places(self):
    with self.assertRaisesRegex(FileNotFoundError, "model.safetensors does not exist"):
      engine.convert(FAMILY, self.source, self.target)
    with self.assertRaisesRegex(FileNotFoundError, "holds neither"):
      engine.convert(FAMILY, self.directory, self.target)
    self._save(_tensors())
    self._save(_tensors(), self.directory / "other.safetensors")
    with self.assertRaisesRegex(ValueError, "name one of them"):
      engine.convert(FAMILY, self.directory, self.target)
    with self.assertRaisesRegex(ValueError, "neither .safetensors nor .pt"):
      engine.convert(FAMILY, __file__, self.target)
    self.target.mkdir()
    (self.target / "mine").touch()
    with self.assertRaisesRegex(ValueError, "ours exists"):
      engine.convert(FAMILY, self.source, self.target)
    self.assertTrue((self.target / "mine").exists())
    with self.assertRaisesRegex(FileNotFoundError, "not the target of `ntm convert`"):
      engine.load(self.target)
    with self.assertRaisesRegex(ValueError, "dtype is 'int8'"):
      engine.convert(FAMILY, self.source, self.directory / "new", "int8")
    with self.assertRaisesRegex(ValueError, "a_file cannot be made"):
      engine.convert(FAMILY, self.source, self.source / "under" / "a_file")
    with self.assertRaisesRegex(ValueError, "gs://bucket/x is not on this machine"):
      engine.convert(FAMILY, self.source, "gs://bucket/x")
    (self.directory / "new.partial").mkdir()
    with self.assertRaisesRegex(ValueError, "new.partial exists, .* or was killed; remove it"):
      engine.convert(FAMILY, self.source, self.directory / "new")
    self.assertTrue((self.directory / "new.partial").exists())

  @parameterized.parameters(*range(2 + _LAYERS + 1))
  def test_a_failure_at_any_piece_leaves_nothing(self, after):
    """Whatever is thrown, and wherever."""
    self._save(_tensors())
    count, read = 0, engine.table.read_pieces

    def failing(entry, tensor):
      nonlocal count
      for piece in read(entry, tensor):
        if count == after:
          raise KeyboardInterrupt
        count += 1
        yield piece

    with mock.patch.object(engine.table, "read_pieces", failing):
      with self.assertRaises(KeyboardInterrupt):
        engine.convert(FAMILY, self.source, self.target)
    self._assert_nothing_left("model.safetensors")
    engine.convert(FAMILY, self.source, self.target)
    self._assert_nothing_left("model.safetensors", "ours")

  def test_a_failure_of_the_record_or_of_export_leaves_nothing(self):
    self._save(_tensors())
    with mock.patch.object(record, "digest", side_effect=RuntimeError("boom")):
      with self.assertRaisesRegex(RuntimeError, "boom"):
        engine.convert(FAMILY, self.source, self.target)
    self._assert_nothing_left("model.safetensors")
    engine.convert(FAMILY, self.source, self.target)
    with mock.patch.object(engine.table, "write", side_effect=RuntimeError("boom")):
      with self.assertRaisesRegex(RuntimeError, "boom"):
        engine.export(self.target, self.directory / "back.safetensors", FAMILY)
    self._assert_nothing_left("model.safetensors", "ours")

  def test_a_lost_part_is_no_zeros(self):
    self._save(_tensors())
    engine.convert(FAMILY, self.source, self.target)
    (self.target / "checkpoints" / "0" / "ema" / "blocks.kernel" / "1.0.0").unlink()
    with self.assertRaisesRegex(ValueError, "blocks.kernel/1.0.0"):
      engine.export(self.target, self.directory / "back.safetensors", FAMILY)
    self._assert_nothing_left("model.safetensors", "ours")
    with self.assertRaises(ValueError):
      engine.load(self.target)

  def test_full_disk(self):
    self._save(_tensors())
    usage = mock.Mock(free=100)
    with mock.patch.object(targets.shutil, "disk_usage", return_value=usage):
      with self.assertRaisesRegex(ValueError, "needs 0.00 GB"):
        engine.convert(FAMILY, self.source, self.target)
    for error in (OSError(errno.ENOSPC, "No space left on device"),
                  ValueError("writing chunk\n[OS error 28: No space left on device]\nmore")):
      with mock.patch.object(store, "save", side_effect=error):
        with self.assertRaisesRegex(ValueError, "^the disk of .*ours is full"):
          engine.convert(FAMILY, self.source, self.target)
    self._assert_nothing_left("model.safetensors")

  def test_an_export_does_not_replace_a_file(self):
    self._save(_tensors())
    engine.convert(FAMILY, self.source, self.target)
    with self.assertRaisesRegex(ValueError, "model.safetensors exists"):
      engine.export(self.target, self.source, FAMILY)
    with self.assertRaisesRegex(FileNotFoundError, "holds no conversion.json"):
      engine.export(self.directory, self.directory / "back.safetensors", FAMILY)

  def test_missing_libraries(self):
    self._save(_tensors())
    with mock.patch.dict(sys.modules, {"safetensors": None}):
      with self.assertRaisesRegex(ImportError, r"pip install 'ntm\[convert\]'"):
        engine.convert(FAMILY, self.source, self.target)
    path = self.directory / "model.pt"
    torch.save({"a": torch.zeros(2)}, path)
    with mock.patch.dict(sys.modules, {"torch": None}):
      with self.assertRaisesRegex(ImportError, "needs PyTorch"):
        engine.convert(FAMILY, path, self.target)

  def test_large_leaves_are_cut_into_small_files(self):
    for leaf, expected in (
        (store.Leaf((20, 3072, 9216), np.dtype(ml_dtypes.bfloat16), True, None), (1, 3072, 4608)),
        (store.Leaf((3072, 9216), np.dtype(np.float32), False, None), (3072, 2304)),
        (store.Leaf((64, 2), np.dtype(np.float32), False, None), (64, 2)),
        (store.Leaf((), np.dtype(np.float32), False, None), ())):
      self.assertSequenceEqual(store._chunk_shape(leaf), expected)

  def test_header_of_written_files_is_padded(self):
    self._save(_tensors())
    engine.convert(FAMILY, self.source, self.target)
    (length,) = struct.unpack("<Q", (self.target / "ignored.safetensors").read_bytes()[:8])
    self.assertEqual(length % 8, 0)


class _Evil:
  """Runs code when it is unpickled."""

  ran = False

  def __reduce__(self):
    return _run, ()


def _run():
  _Evil.ran = True


if __name__ == "__main__":
  absltest.main()
