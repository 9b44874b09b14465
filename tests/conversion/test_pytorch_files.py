import argparse
import pickle
import sys
from unittest import mock

import ml_dtypes
import numpy as np
import torch
from absl.testing import absltest, parameterized

from ntm.conversion import converter
from ntm.conversion.source_files import open_source
from tests.helpers import toy


class PyTorchFilesTest(toy.ToyTest):

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
          opened = open_source(path)
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
      self.assertLen(open_source(path).specs, 6)
    self.assertIn("model.pt was saved without checksums", logs.output[0])

  def test_missing_library(self):
    path = self.directory / "model.pt"
    torch.save({"a": torch.zeros(2)}, path)
    with mock.patch.dict(sys.modules, {"torch": None}):
      with self.assertRaisesRegex(ImportError, "needs PyTorch"):
        open_source(path)


class _Evil:
  """Runs code when it is unpickled."""

  ran = False

  def __reduce__(self):
    return _run, ()


def _run():
  _Evil.ran = True


if __name__ == "__main__":
  absltest.main()
