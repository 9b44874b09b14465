"""`ntm encode` as users run it: moments, captions and classes, interruptions, refusals."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
from unittest import mock

import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ntm.conversion import converter
from ntm.data import encode_images, encode_shards, folder, images, shard_format
from ntm.published.autoencoders import mapping_kl
from ntm.published.autoencoders.model import Autoencoder
from tests.helpers import encoding, runs

_ROOT = pathlib.Path(__file__).parents[2]


def _new():
  return pathlib.Path(tempfile.mkdtemp()) / "shards"


class EncodeTest(parameterized.TestCase):

  def test_records_are_the_moments_of_the_image_and_of_its_mirror_image(self):
    root = encoding.folder()
    found = encoding.records(encoding.encode(root))
    _, architecture, params = converter.load(encoding.autoencoder())
    module = Autoencoder(mapping_kl.config(architecture))
    self.assertLen(found, 12)
    for header, moments in found:
      image = images.example(folder.read(root, header["key"]), 0, (16, 16, 3))["image"]
      self.assertEqual(header["label"], int(header["key"][6]))
      mean, logvar = module.apply({"params": params}, np.stack([image, image[:, ::-1]]),
                                  method="encode")
      expected = jnp.stack([mean, jnp.exp(logvar / 2)], axis=1)
      # float16 rounds to 2^-11; the rest is another order of float32 sums.
      np.testing.assert_allclose(moments.astype(np.float32), expected, rtol=6e-4, atol=1e-4)
      self.assertGreater(np.abs(moments[0] - moments[1]).max(), 0.01)

  def test_an_interrupted_encoding_continues_without_gaps_or_duplicates(self):
    root, target = encoding.folder(), _new()
    whole = encoding.encode(root)
    real, calls = encode_shards._write_shard, []

    def fails_in_the_middle(*args):
      calls.append(args[3])
      if len(calls) == 2:
        (target / "shard-000001.array_record.partial").write_bytes(b"half")
        raise KeyboardInterrupt
      return real(*args)

    with (mock.patch.object(encode_shards, "_write_shard", fails_in_the_middle),
          mock.patch.object(os, "_exit", side_effect=SystemExit(130))):
      self.assertEqual(runs.call("encode", *encoding.flags(root, target))[0], 130)
    self.assertFalse(shard_format.read_index(target)["complete"])
    with mock.patch.object(encode_shards, "_write_shard", side_effect=real) as written:
      encoding.encode(root, target)
    self.assertEqual([call.args[3] for call in written.call_args_list], [1, 2])
    encoding.assert_same(target, whole)
    self.assertEmpty([*target.glob("*.partial"), *target.glob("shard-*.json")])

  def test_a_finished_encoding_is_checked_and_damaged_shards_are_written_anew(self):
    root = encoding.folder()
    target = encoding.encode(root)
    whole, index = encoding.encode(root), shard_format.read_index(target)
    with mock.patch.object(encode_shards, "_write_shard") as written:
      encoding.encode(root, target)
    written.assert_not_called()
    self.assertEqual(shard_format.read_index(target), index)
    path = target / "shard-000001.array_record"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    (target / "shard-000002.array_record").unlink()
    code, stderr = runs.call("encode", *encoding.flags(root, target))
    self.assertEqual(code, 0, stderr)
    self.assertIn("shard-000001.array_record is damaged or missing; it is encoded again", stderr)
    encoding.assert_same(target, whole)

  @parameterized.parameters(
      (dict(image_size=32), "was encoded with --image_size=16, and now it is --image_size=32; "
       "repeat the command with --image_size=16, or choose another --target.$"),
      (dict(shard_size=3), "was encoded with --shard_size=5, and now it is --shard_size=3; "
       "repeat the command with --shard_size=5, or choose another --target.$"),
      (dict(image_size=32, shard_size=3), "was encoded with --image_size=16 --shard_size=5, and "
       "now it is --image_size=32 --shard_size=3; repeat"),
      (dict(autoencoder="flux2"), r"was encoded with (--autoencoder=/\S+), and now it is "
       r"--autoencoder=/\S+; repeat the command with \1, or"))
  def test_a_rerun_with_another_flag_names_the_flag_and_both_values(self, changes, message):
    root, target = encoding.folder(count=2), _new()
    encoding.encode(root, target)
    before = runs.tree(target)
    if "autoencoder" in changes:
      changes = {"autoencoder": encoding.autoencoder("flux2")}
    self._assert_refused(encoding.flags(root, target, **changes), message)
    other = encoding.folder(count=3)
    self._assert_refused(encoding.flags(other, target),
                         f"encoded with --source={root}, and now it is --source={other}; repeat")
    encoding.picture(9).save(root / "class_0" / "more.png")
    self._assert_refused(encoding.flags(root, target), f"--source is {root}, and {target} was "
                         "encoded with another content of it; restore that")
    self.assertEqual(runs.tree(target), before)

  def test_a_copy_of_the_source_elsewhere_continues(self):
    root, target = encoding.folder(count=1), _new()
    encoding.encode(root, target)
    moved = root.rename(root.with_name(f"{root.name}_moved"))
    encoding.encode(moved, target)

  def _assert_refused(self, flags, message):
    with (mock.patch.object(encode_images.Encoder, "start") as start,
          mock.patch.object(converter, "load") as load):
      code, stderr = runs.call("encode", *flags)
    start.assert_not_called()
    load.assert_not_called()
    self.assertEqual(code, 1, stderr)
    self.assertLen(stderr.splitlines(), 1)
    self.assertRegex(stderr, f"^error: .*{message}")

  @parameterized.parameters(
      (dict(image_size=15), "image_size is 15; expected a multiple of 2"),
      (dict(batch_size=3), "batch_size is 3; expected a multiple of the 8 devices"),
      (dict(autoencoder="/nowhere"), "--autoencoder is /nowhere, but /nowhere holds no "
       "conversion.json.* `ntm convert --family=autoencoder_kl"),
      (dict(source="/nowhere"), "is /nowhere, which is not a directory"),
      (dict(target="/dev/null/x"), "cannot be made"),
      (dict(target="gs://bucket/x"), "not on this machine"),
      (dict(split="test"), "--split does not apply: --from is folder"))
  def test_mistakes_are_refused_before_any_work(self, changes, message):
    target = _new()
    self._assert_refused(encoding.flags(**{"source": encoding.folder(count=1), "target": target}
                                        | changes), message)
    self.assertFalse(target.exists())

  def test_a_target_that_holds_something_else_is_refused(self):
    root = encoding.folder(count=1)
    self._assert_refused(encoding.flags(root, root), "exists and holds no index of shards")

  def test_unreadable_images_are_left_out_and_listed(self):
    root = encoding.folder()
    (root / "class_0" / "003.png").write_bytes(b"not a picture")
    target = encoding.encode(root)
    index = shard_format.read_index(target)
    self.assertEqual((index["examples"], index["unreadable"]), (11, 1))
    self.assertNotIn("class_0/003.png", [header["key"] for header, _ in encoding.records(target)])
    self.assertRegex((target / "unreadable.txt").read_text(),
                     "^class_0/003.png\tit is in none of the formats .*\tshard-000000.array_record")
    (root / "class_1" / "003.png").write_bytes(b"")
    code, stderr = runs.call("encode", *encoding.flags(root, _new()))
    self.assertEqual(code, 1)
    self.assertRegex(stderr, "error: 2 examples cannot be read, and at most 1 of 12 may be left out"
                     ": class_0/003.png .*class_1/003.png .the file is empty")

  def test_what_could_not_be_read_is_tried_again_by_the_same_command(self):
    root = encoding.folder()
    for path in root.glob("*/*.png"):
      path.with_suffix(".txt").write_text(f"picture {path.stem}")
    whole = encoding.encode(root)
    late = root / "class_1" / "001.txt"
    late.unlink()
    target = _new()
    code, stderr = runs.call("encode", *encoding.flags(root, target))
    self.assertEqual(code, 0, stderr)
    self.assertIn(f"1 example cannot be read and is left out; {target / 'unreadable.txt'} lists "
                  "it. To try again, run the same command.", stderr)
    self.assertIn("11 of 12 examples in 3 shards, complete", stderr)
    with mock.patch.object(encode_shards, "_write_shard") as written:
      encoding.encode(root, target)  # It still cannot be read.
    written.assert_not_called()
    late.write_text("picture 001")
    real = encode_shards._write_shard
    with (mock.patch.object(encode_shards, "_write_shard", side_effect=KeyboardInterrupt),
          mock.patch.object(os, "_exit", side_effect=SystemExit(130))):
      self.assertEqual(runs.call("encode", *encoding.flags(root, target))[0], 130)
    with mock.patch.object(encode_shards, "_write_shard", side_effect=real) as written:
      code, stderr = runs.call("encode", *encoding.flags(root, target))
    self.assertEqual(code, 0, stderr)
    self.assertEqual([call.args[3] for call in written.call_args_list], [1])
    self.assertNotIn("cannot be read", stderr)
    self.assertIn("12 of 12 examples in 3 shards, complete", stderr)
    encoding.assert_same(target, whole)
    self.assertFalse((target / "unreadable.txt").exists())

  def test_of_flux2_the_moments_are_those_before_the_patches(self):
    target = encoding.encode(encoding.folder(count=1), autoencoder=encoding.autoencoder("flux2"))
    settings = shard_format.read_index(target)["settings"]
    self.assertEqual(settings["latent_shape"], [8, 8, 8])
    self.assertEqual(settings["model_shape"], [4, 4, 32])

  @pytest.mark.slow
  def test_killed_and_resumed(self):
    root, target = encoding.folder(count=40), _new()
    whole = encoding.encode(root)
    env = os.environ | {"XLA_FLAGS": os.environ["XLA_FLAGS"]}
    command = [sys.executable, "-m", "ntm.commands.main", "encode", *encoding.flags(root, target)]
    for stop in (1, 4, 9):
      process = subprocess.Popen(command, env=env, cwd=_ROOT, stderr=subprocess.PIPE)
      while len(list(target.glob("shard-*.json"))) < stop and process.poll() is None:
        time.sleep(0.002)
      process.send_signal(signal.SIGKILL)
      process.communicate()
      self.assertLess(len(list(target.glob("shard-*.json"))), 16)
    done = subprocess.run(command, env=env, cwd=_ROOT, capture_output=True, text=True)
    self.assertEqual(done.returncode, 0, done.stderr)
    self.assertLess(int(re.search(r"encoded (\d+) images", done.stderr)[1]), 80)
    encoding.assert_same(target, whole)

  @pytest.mark.slow
  def test_two_processes_write_the_shards_of_one(self):
    root, target = encoding.folder(), _new()
    whole = encoding.encode(root)
    env = os.environ | {"XLA_FLAGS": re.sub(r"--xla_force_host\S*", "", os.environ["XLA_FLAGS"])}
    done = subprocess.run(
        [sys.executable, _ROOT / "launch" / "local.py", "--processes=2", "--devices-per-process=4",
         "--", sys.executable, "-m", "ntm.commands.main", "encode",
         *encoding.flags(root, target)], env=env, cwd=_ROOT, capture_output=True, text=True)
    self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
    ours, theirs = encoding.records(target), encoding.records(whole)
    self.assertEqual([header for header, _ in ours], [header for header, _ in theirs])
    for (_, one), (_, other) in zip(ours, theirs):  # Another number of images per device.
      np.testing.assert_allclose(one.astype(np.float32), other.astype(np.float32), rtol=2e-3,
                                 atol=1e-4)

  def test_the_index_says_how_the_shards_were_made(self):
    target = encoding.encode(encoding.folder())
    index = json.loads((target / "index.json").read_text())
    self.assertEqual(index["settings"]["autoencoder"]["family"], "autoencoder_kl")
    self.assertEqual(index["settings"]["autoencoder"]["checksum"],
                     converter.checksum(encoding.autoencoder()))
    self.assertEqual(index["settings"]["crop"], "centre, bicubic")
    self.assertEqual((index["num_classes"], index["examples"]), (2, 12))
    self.assertEqual([entry["examples"] for entry in index["shards"]], [5, 5, 2])
    self.assertEqual(index["shards"][1]["source"],
                     "files 5 to 9, class_0/005.png to class_1/003.png")


if __name__ == "__main__":
  absltest.main()
