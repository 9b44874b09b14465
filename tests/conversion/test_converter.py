"""The engine on a small family of its own, with every kind of entry."""

import argparse
import contextlib
import errno
import io
import json
import pickle
import struct
import sys
from unittest import mock

import jax
import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import torch
from absl.testing import absltest, parameterized

from ntm.conversion import atomic, converter, families, record, streaming
from tests.helpers import toy


class EngineTest(toy.ToyTest):

  @parameterized.parameters(np.float32, ml_dtypes.bfloat16, np.float16, np.float64)
  def test_there_and_back_is_the_same_file(self, dtype):
    tensors = toy.tensors(dtype)
    # Bits, not values, are kept.
    tensors["fused.weight"][0, :2] = -0.0, np.nextafter(np.zeros((), dtype), np.ones((), dtype))
    self.save(tensors, metadata={"format": "é"})  # Of several, the library's order varies.
    converter.convert(toy.FAMILY, self.source, self.target)
    back = self.directory / "back.safetensors"
    converter.export(self.target, back, toy.FAMILY)
    self.assertEqual(back.read_bytes(), self.source.read_bytes())
    self.assert_nothing_left("model.safetensors", "ours", "back.safetensors")

  def test_leaves_are_those_of_the_table_and_orbax_reads_them(self):
    tensors = toy.tensors(ml_dtypes.bfloat16)
    self.save(tensors)
    converter.convert(toy.FAMILY, self.source, self.target)
    name, architecture, params = converter.load(self.target)
    self.assertEqual((name, architecture), ("toy", {"layers": toy.LAYERS}))
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
    self.save(toy.tensors(), metadata={"format": "pt"})
    converter.convert(toy.FAMILY, self.source, self.target, "bfloat16")
    made = json.loads((self.target / "conversion.json").read_text())
    self.assertEqual(made["family"], "toy")
    self.assertEqual(made["dtype"], "bfloat16")
    self.assertEqual(made["source"][0]["bytes"], self.source.stat().st_size)
    self.assertLen(made["source"][0]["sha256"], 64)
    self.assertEqual(made["tensors"]["fused.weight"], ["float32", 6, 5])
    self.assertEqual(made["ignored"], {"count": "a count"})

  def test_widened_comes_back_whole_and_narrowed_as_it_is(self):
    back = self.directory / "back.safetensors"
    narrow = toy.tensors(ml_dtypes.bfloat16)
    self.save(narrow)
    converter.convert(toy.FAMILY, self.source, self.target, "float32")
    self.assertEqual(converter.load(self.target)[2]["scale"].dtype, np.float32)
    converter.export(self.target, back, toy.FAMILY)
    self.assert_bits(back, narrow)

    self.save(toy.tensors(np.float32))
    converter.convert(toy.FAMILY, self.source, self.directory / "narrowed", "bfloat16")
    back.unlink()
    converter.export(self.directory / "narrowed", back, toy.FAMILY)
    self.assert_bits(back, narrow)  # The same draws, rounded in the same way.

  def test_mixed_types_come_back(self):
    tensors = toy.tensors(ml_dtypes.bfloat16)
    tensors["blocks.1.weight"] = toy.tensors(np.float32)["blocks.1.weight"]
    self.save(tensors)
    converter.convert(toy.FAMILY, self.source, self.target)
    params = converter.load(self.target)[2]
    self.assertEqual(params["blocks"]["kernel"].dtype, np.float32)
    self.assertEqual(params["key"]["kernel"].dtype, ml_dtypes.bfloat16)
    converter.export(self.target, self.directory / "back.safetensors", toy.FAMILY)
    self.assert_bits(self.directory / "back.safetensors", tensors)

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
      back = self.directory / "all"
      converter.export(self.target, back.with_suffix(".safetensors"), toy.FAMILY)
      self.assert_bits(back.with_suffix(".safetensors"), tensors)
      atomic.remove(self.target)
      atomic.remove(back.with_suffix(".safetensors"))

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

  @parameterized.named_parameters(
      ("plain", lambda t: t, True), ("old_format", lambda t: t, False),
      ("model", lambda t: {"model": t, "epoch": 3}, True),
      ("ema_of_two", lambda t: {
          "model": {k: v + 1 for k, v in t.items()}, "ema": t, "opt": {"state": {}},
          "args": argparse.Namespace(lr=1.0)}, True))
  def test_pytorch_files(self, nest, zipped):
    tensors = toy.tensors(ml_dtypes.bfloat16)
    state = {name: torch.tensor(array.astype(np.int64 if name == "count" else np.float32))
             for name, array in tensors.items()}
    state = {name: t if name == "count" else t.bfloat16() for name, t in state.items()}
    # Another memory order, as a transposed weight is saved.
    state["fused.weight"] = state["fused.weight"].T.contiguous().T
    path = self.directory / "model.pt"
    torch.save(nest(state), path, _use_new_zipfile_serialization=zipped)
    converter.convert(toy.FAMILY, path, self.target)
    converter.export(self.target, self.directory / "back.safetensors", toy.FAMILY)
    self.assert_bits(self.directory / "back.safetensors", tensors)

  def test_pytorch_files_that_are_refused(self):
    path = self.directory / "model.pt"
    state = {name: torch.tensor(np.float32(array)) for name, array in toy.tensors().items()}
    for content, message in (
        ({**state, "f": _Evil()}, "whose code is not run"),
        ({"a": state, "b": state}, r"several state dicts \(a, b\)"),
        ([1, 2], "no dict of tensors")):
      torch.save(content, path)
      with self.assertRaisesRegex(ValueError, message):
        converter.convert(toy.FAMILY, path, self.target)
    path.write_bytes(pickle.dumps(_Evil()))
    with self.assertRaisesRegex(ValueError, "whose code is not run"):
      converter.convert(toy.FAMILY, path, self.target)
    torch.save({"a": torch.zeros(3, dtype=torch.float8_e4m3fn)}, path)
    with self.assertRaisesRegex(ValueError, "model.pt: a: numbers of type float8_e4m3fn are not "):
      converter.convert(toy.FAMILY, path, self.target)
    for tensor, kind in (
        (torch.eye(3).to_sparse(), "sparse"), (torch.eye(3).to_sparse_csr(), "sparse"),
        (torch.empty(3, device="meta"), "without numbers"),
        (torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), "quantised"),
        (torch.ones(3, dtype=torch.complex64), "complex64")):
      torch.save({"a": tensor}, path)
      with self.assertRaisesRegex(ValueError, f"^[^\n]*model.pt: a[^\n]* {kind}[^\n]*$"):
        converter.convert(toy.FAMILY, path, self.target)
    path.write_bytes(b"")
    with self.assertRaisesRegex(ValueError, "model.pt is damaged"):
      converter.convert(toy.FAMILY, path, self.target)
    rng = np.random.default_rng(0)
    for zipped in (True, False):
      torch.save(state, path, _use_new_zipfile_serialization=zipped)
      whole = path.read_bytes()
      for size in (len(whole) - 100, *rng.integers(1, len(whole) - 8, 20)):
        path.write_bytes(whole[:size])
        with self.subTest(zipped=zipped, size=size):
          with self.assertRaisesRegex(ValueError, "model.pt (is damaged|holds no dict)"):
            converter.convert(toy.FAMILY, path, self.target)
    self.assert_nothing_left("model.pt")
    self.assertFalse(_Evil.ran)

  def test_dry_run_shows_all_and_writes_nothing(self):
    self.save(toy.tensors())
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
      converter.convert(toy.FAMILY, self.source, self.target, "bfloat16", dry_run=True)
    lines = out.getvalue().splitlines()
    self.assertIn("fused.weight [6, 5] float32 rows 4:6 → key/kernel [5, 2] bfloat16", lines)
    self.assertIn("blocks.2.weight [2, 7] float32 → blocks/kernel[2] [3, 7, 2] bfloat16", lines)
    self.assertIn("count [] is kept aside: a count", lines)
    self.assertLen(lines, 7)
    self.assert_nothing_left("model.safetensors")

  @parameterized.named_parameters(
      ("missing", {"scale": None}, "missing in the file: scale"),
      ("surplus", {"extra": np.zeros(2)}, "surplus in the file: extra"),
      ("shape", {"blocks.1.weight": np.zeros((7, 2))}, "blocks.1.weight .* does not fit"))
  def test_tensors_that_do_not_match(self, change, message):
    tensors = {k: v for k, v in (toy.tensors() | change).items() if v is not None}
    self.save(tensors)
    for dry_run in (False, True):
      with self.assertRaisesRegex(ValueError, message):
        converter.convert(toy.FAMILY, self.source, self.target, dry_run=dry_run)
    self.assert_nothing_left("model.safetensors")

  def test_wrong_family(self):
    self.save({"other": np.zeros(2)})
    with self.assertRaisesRegex(ValueError, "not of family toy; it looks like none of flux2"):
      converter.convert(toy.FAMILY, self.source, self.target)
    with mock.patch.object(families, "matching", lambda shapes: ["sit"]):
      with self.assertRaisesRegex(ValueError, "it looks like sit"):
        converter.convert(toy.FAMILY, self.source, self.target)
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
    self.save({tensor: np.zeros(shape, np.float16) for tensor, shape in shapes.items()})
    with self.assertRaisesRegex(ValueError, f"model.safetensors has the tensors of family {name}, "
                                            f"but {message}"):
      converter.convert(families.get(name), self.source, self.target)
    with self.assertRaisesRegex(ValueError, f"is not of family flux2; it looks like {name}"):
      converter.convert(families.get("flux2"), self.source, self.target)

  def test_places(self):
    with self.assertRaisesRegex(FileNotFoundError, "model.safetensors does not exist"):
      converter.convert(toy.FAMILY, self.source, self.target)
    with self.assertRaisesRegex(FileNotFoundError, "holds neither"):
      converter.convert(toy.FAMILY, self.directory, self.target)
    self.save(toy.tensors())
    self.save(toy.tensors(), self.directory / "other.safetensors")
    with self.assertRaisesRegex(ValueError, "name one of them"):
      converter.convert(toy.FAMILY, self.directory, self.target)
    with self.assertRaisesRegex(ValueError, "neither .safetensors nor .pt"):
      converter.convert(toy.FAMILY, __file__, self.target)
    self.target.mkdir()
    (self.target / "mine").touch()
    with self.assertRaisesRegex(ValueError, "ours exists"):
      converter.convert(toy.FAMILY, self.source, self.target)
    self.assertTrue((self.target / "mine").exists())
    with self.assertRaisesRegex(FileNotFoundError, "not the target of `ntm convert`"):
      converter.load(self.target)
    with self.assertRaisesRegex(ValueError, "dtype is 'int8'"):
      converter.convert(toy.FAMILY, self.source, self.directory / "new", "int8")
    with self.assertRaisesRegex(ValueError, "a_file cannot be made"):
      converter.convert(toy.FAMILY, self.source, self.source / "under" / "a_file")
    with self.assertRaisesRegex(ValueError, "gs://bucket/x is not on this machine"):
      converter.convert(toy.FAMILY, self.source, "gs://bucket/x")
    (self.directory / "new.partial").mkdir()
    with self.assertRaisesRegex(ValueError, "new.partial exists, .* or was killed; remove it"):
      converter.convert(toy.FAMILY, self.source, self.directory / "new")
    self.assertTrue((self.directory / "new.partial").exists())

  @parameterized.parameters(*range(2 + toy.LAYERS + 1))
  def test_a_failure_at_any_piece_leaves_nothing(self, after):
    """Whatever is thrown, and wherever."""
    self.save(toy.tensors())
    count, read = 0, converter.mapping.read_pieces

    def failing(entry, tensor):
      nonlocal count
      for piece in read(entry, tensor):
        if count == after:
          raise KeyboardInterrupt
        count += 1
        yield piece

    with mock.patch.object(converter.mapping, "read_pieces", failing):
      with self.assertRaises(KeyboardInterrupt):
        converter.convert(toy.FAMILY, self.source, self.target)
    self.assert_nothing_left("model.safetensors")
    converter.convert(toy.FAMILY, self.source, self.target)
    self.assert_nothing_left("model.safetensors", "ours")

  def test_a_failure_of_the_record_or_of_export_leaves_nothing(self):
    self.save(toy.tensors())
    with mock.patch.object(record, "digest", side_effect=RuntimeError("boom")):
      with self.assertRaisesRegex(RuntimeError, "boom"):
        converter.convert(toy.FAMILY, self.source, self.target)
    self.assert_nothing_left("model.safetensors")
    converter.convert(toy.FAMILY, self.source, self.target)
    with mock.patch.object(converter.mapping, "write", side_effect=RuntimeError("boom")):
      with self.assertRaisesRegex(RuntimeError, "boom"):
        converter.export(self.target, self.directory / "back.safetensors", toy.FAMILY)
    self.assert_nothing_left("model.safetensors", "ours")

  def test_a_lost_part_is_no_zeros(self):
    self.save(toy.tensors())
    converter.convert(toy.FAMILY, self.source, self.target)
    (self.target / "checkpoints" / "0" / "ema" / "blocks.kernel" / "1.0.0").unlink()
    with self.assertRaisesRegex(ValueError, "blocks.kernel/1.0.0"):
      converter.export(self.target, self.directory / "back.safetensors", toy.FAMILY)
    self.assert_nothing_left("model.safetensors", "ours")
    with self.assertRaises(ValueError):
      converter.load(self.target)

  def test_full_disk(self):
    self.save(toy.tensors())
    usage = mock.Mock(free=100)
    with mock.patch.object(atomic.shutil, "disk_usage", return_value=usage):
      with self.assertRaisesRegex(ValueError, "needs 0.00 GB"):
        converter.convert(toy.FAMILY, self.source, self.target)
    for error in (OSError(errno.ENOSPC, "No space left on device"),
                  ValueError("writing chunk\n[OS error 28: No space left on device]\nmore")):
      with mock.patch.object(streaming, "save", side_effect=error):
        with self.assertRaisesRegex(ValueError, "^the disk of .*ours is full"):
          converter.convert(toy.FAMILY, self.source, self.target)
    self.assert_nothing_left("model.safetensors")

  def test_an_export_does_not_replace_a_file(self):
    self.save(toy.tensors())
    converter.convert(toy.FAMILY, self.source, self.target)
    with self.assertRaisesRegex(ValueError, "model.safetensors exists"):
      converter.export(self.target, self.source, toy.FAMILY)
    with self.assertRaisesRegex(FileNotFoundError, "holds no conversion.json"):
      converter.export(self.directory, self.directory / "back.safetensors", toy.FAMILY)

  def test_missing_libraries(self):
    self.save(toy.tensors())
    with mock.patch.dict(sys.modules, {"safetensors": None}):
      with self.assertRaisesRegex(ImportError, r"pip install 'ntm\[convert\]'"):
        converter.convert(toy.FAMILY, self.source, self.target)
    path = self.directory / "model.pt"
    torch.save({"a": torch.zeros(2)}, path)
    with mock.patch.dict(sys.modules, {"torch": None}):
      with self.assertRaisesRegex(ImportError, "needs PyTorch"):
        converter.convert(toy.FAMILY, path, self.target)

  def test_large_leaves_are_cut_into_small_files(self):
    for leaf, expected in (
        (streaming.Leaf((20, 3072, 9216), np.dtype(ml_dtypes.bfloat16), True, None),
         (1, 3072, 4608)),
        (streaming.Leaf((3072, 9216), np.dtype(np.float32), False, None), (3072, 2304)),
        (streaming.Leaf((64, 2), np.dtype(np.float32), False, None), (64, 2)),
        (streaming.Leaf((), np.dtype(np.float32), False, None), ())):
      self.assertSequenceEqual(streaming._chunk_shape(leaf), expected)

  def test_header_of_written_files_is_padded(self):
    self.save(toy.tensors())
    converter.convert(toy.FAMILY, self.source, self.target)
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
