"""The converter on a small family of its own, with every kind of entry."""

import json
from unittest import mock

import jax
import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
from absl.testing import absltest, parameterized

from ntm.conversion import converter, record
from tests.helpers import toy


class ConverterTest(toy.ToyTest):

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

  def test_leaves_are_those_of_the_mapping_and_orbax_reads_them(self):
    tensors = toy.tensors(ml_dtypes.bfloat16)
    self.save(tensors)
    converter.convert(toy.FAMILY, self.source, self.target)
    with self.assertNoLogs("absl", "WARNING"):
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

  @parameterized.parameters(*range(2 + toy.LAYERS + 1))
  def test_a_failure_at_any_piece_leaves_nothing(self, after):
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

  def test_an_export_does_not_replace_a_file(self):
    self.save(toy.tensors())
    converter.convert(toy.FAMILY, self.source, self.target)
    with self.assertRaisesRegex(ValueError, "model.safetensors exists"):
      converter.export(self.target, self.source, toy.FAMILY)
    with self.assertRaisesRegex(FileNotFoundError, "holds no conversion.json"):
      converter.export(self.directory, self.directory / "back.safetensors", toy.FAMILY)

  def test_leaves_of_another_shape_are_not_exported(self):
    self.convert()
    made = json.loads((self.target / "conversion.json").read_text())
    del made["checksum"]  # As of before there was one.
    made["tensors"]["blocks.1.weight"] = ["float32", 7, 2]
    (self.target / "conversion.json").write_text(json.dumps(made))
    with self.assertRaisesRegex(ValueError, r"blocks.1.weight \[7, 2\] does not fit"):
      converter.export(self.target, self.directory / "back.safetensors", toy.FAMILY)
    self.assert_nothing_left("model.safetensors", "ours")

  def test_what_is_refused_before_any_work(self):
    self.save(toy.tensors())
    with self.assertRaisesRegex(FileNotFoundError, "not the target of `ntm convert`"):
      converter.load(self.directory)
    with self.assertRaisesRegex(ValueError, "dtype is 'int8'"):
      converter.convert(toy.FAMILY, self.source, self.target, "int8")
    self.assertEqual(converter.source_paths(self.directory), [])
    self.assert_nothing_left("model.safetensors")

  def test_bytes_are_reported_up_to_their_total(self):
    self.save(toy.tensors())
    converted, exported = [], []
    converter.convert(toy.FAMILY, self.source, self.target,
                      report=lambda *done: converted.append(done))
    self.assertLen(converted, 3 + toy.LAYERS)
    self.assertEqual(converted[-1], (converted[0][1],) * 2)
    converter.export(self.target, self.directory / "back.safetensors", toy.FAMILY,
                     report=lambda *done: exported.append(done))
    self.assertLen(exported, 2 + toy.LAYERS)
    self.assertEqual(exported[-1], (converted[-1][1],) * 2)
    self.assertEqual(converter.source_paths(self.target), [str(self.source)])


if __name__ == "__main__":
  absltest.main()
